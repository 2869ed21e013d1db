"""Shows what the filter would do: its rules on a thousand documents, before and after, without running a stage."""

import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

from corpus import filtering, rejects, shards
from corpus.lots import lot
from corpus.reading import read_folder
from pipelines import filter as stage
from pipelines import ingest
from pipelines._stage import load_params

DOCUMENTS, READ, SHOWN = 1000, 50_000, 60  # judged; read to draw them from; kept ones shown with their text
FOLDER = Path(".scratch/preview")


def main() -> None:
    """Prints what happens to the documents and writes pages to look at."""
    source, params = load_params("ingest", ingest.Params), load_params("filter", stage.Params)
    read = islice(read_folder(Path(source.text), max_record_bytes=source.max_record_bytes), READ)
    documents = sorted((row for row in read if isinstance(row, dict)), key=lambda row: lot(row["id"]))[:DOCUMENTS]
    shutil.rmtree(FOLDER, ignore_errors=True)
    shards.write(FOLDER / "documents", documents)
    judged = [
        result
        for _, result in filtering.judge_folder(
            FOLDER / "documents", scratch=FOLDER, policy=params, judges=Path("data/judges")
        )
    ]
    rejects.write(FOLDER / "rejects", [row for result in judged for row in result.examples])
    raw = {row["id"]: row["text"] for row in documents}
    kept = list(shards.read(FOLDER / "kept"))
    changed = [(row["id"], raw.get(row["id"], ""), row["text"]) for row in kept if row["text"] != raw.get(row["id"])]
    (FOLDER / "kept.html").write_text(rejects.page("Kept, before and after", rejects.changes(changed[:SHOWN])))
    counts = Counter(row["reason"] for result in judged for row in result.verdicts)
    sizes = sum(map(len, raw.values())), sum(len(row["text"]) for row in kept)
    print(f"{len(documents)} documents of {source.text}, {sizes[0]:,} characters")
    print(f"kept {len(kept)} documents, {sizes[1]:,} characters; {len(changed)} of them changed")
    for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"dropped {count:5} {reason}")
    print(f"look at {FOLDER}/kept.html and {FOLDER}/rejects/index.html")


if __name__ == "__main__":
    main()
