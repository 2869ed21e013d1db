"""Knows Ollama: the Modelfile beside a .gguf file, whose Go template says what midm_mini's chat format says."""

from midm_mini.backend import DEFAULT_CONTEXT
from midm_mini.format import BOS, END_HEADER, EOT, START_HEADER, STOP_TOKENS

# Go template (its variables: Ollama's docs/template.md). It equals render_chat but for three things that are Ollama's:
# neighbouring turns of one role reach it as one, JSON is written without spaces, and a last turn of the assistant stays
# open, to be continued.
TEMPLATE = (
    BOS + "{{- if .Tools }}" + START_HEADER + "system" + END_HEADER + "\n\n"
    "{{ range $n, $turn := .Messages }}{{ if and (eq $n 0) (eq .Role `system`) }}{{ .Content }}\n\n{{ end }}{{ end }}"
    "<tools>\n{{ range .Tools }}{{ .Function }}\n{{ end }}</tools>" + EOT + "{{ end }}"
    "{{- range $n, $turn := .Messages }}"
    "{{- $last := eq (len (slice $.Messages $n)) 1 }}"
    "{{- if eq .Role `tool` }}" + START_HEADER + "user" + END_HEADER + "\n\n"
    "<tool_response>\n{{ .Content }}\n</tool_response>" + EOT +
    "{{- else if not (and $.Tools (eq $n 0) (eq .Role `system`)) }}"
    + START_HEADER + "{{ .Role }}" + END_HEADER + "\n\n{{ .Content }}"
    "{{- range $call, $made := .ToolCalls }}{{ if or $turn.Content $call }}\n{{ end }}"
    '<tool_call>{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}</tool_call>{{ end }}'
    "{{- if not (and $last (eq .Role `assistant`)) }}" + EOT + "{{ end }}{{ end }}"
    "{{- if and $last (ne .Role `assistant`) }}" + START_HEADER + "assistant" + END_HEADER + "\n\n{{ end }}"
    "{{- end }}"
)  # fmt: skip


def modelfile(gguf: str, *, context: int, license: str) -> str:
    """The text of the Modelfile for the file `gguf` beside it; `context` in tokens, as the model was trained."""
    stops = "".join(f'PARAMETER stop "{token}"\n' for token in STOP_TOKENS)
    return (
        f"# ollama create midm-mini -f Modelfile && ollama run midm-mini\n"
        f'FROM ./{gguf}\nTEMPLATE """{TEMPLATE}"""\n{stops}'
        f"PARAMETER temperature 0\nPARAMETER num_ctx {min(context, DEFAULT_CONTEXT)}\nLICENSE {license}\n"
    )
