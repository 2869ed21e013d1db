"""Knows how Markdown pages become one HTML file that needs nothing else: no network, no script, pictures inside."""

import base64
import html
import re
from collections.abc import Mapping
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem; color: #222; }
nav { position: sticky; top: 0; background: #fff; padding: .5rem 0; border-bottom: 1px solid #ccc; }
nav a { margin-right: 1.5rem; } section { scroll-margin-top: 3rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 14px; margin: 1rem 0; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
img { max-width: 100%; } code { background: #f3f3f3; }"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}
</style></head><body>
<nav>{links}</nav>
{sections}
</body></html>
"""


def page(title: str, pages: Mapping[str, str], pictures: Path) -> str:
    """pages: heading → Markdown, without its YAML front matter; pictures: the folder of the files they name."""
    from markdown_it import MarkdownIt

    render = MarkdownIt("commonmark", {"html": False}).enable("table").render
    names = {name: f"part{number}" for number, name in enumerate(pages, 1)}
    bodies = {name: render(re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)) for name, text in pages.items()}
    sections = (f'<section id="{names[name]}">\n{_inlined(body, pictures)}</section>' for name, body in bodies.items())
    links = (f'<a href="#{place}">{html.escape(name)}</a>' for name, place in names.items())
    return PAGE.format(title=html.escape(title), style=STYLE, links="\n".join(links), sections="\n".join(sections))


def _inlined(body: str, folder: Path) -> str:
    """The same HTML with every picture's bytes in place of its name."""

    def data(found: re.Match[str]) -> str:
        return f'src="data:image/png;base64,{base64.b64encode((folder / found[1]).read_bytes()).decode()}"'

    return re.sub(r'src="([^":/]+\.png)"', data, body)
