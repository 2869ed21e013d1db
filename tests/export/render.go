// Renders chats by a Go template as Ollama does: {"template": …, "chats": [{"messages": …, "tools": …}]} in, texts out.
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"text/template"
)

type words map[string]any // what Ollama prints as JSON inside a template

func (w words) String() string {
	text, _ := json.Marshal(w)
	return string(text)
}

type call struct {
	Function struct {
		Name      string
		Arguments words
	}
}

type message struct {
	Role, Content string
	ToolCalls     []call `json:"tool_calls"`
}

type tool struct{ Function words }

// merge joins neighbouring turns of one role, as Ollama does before it renders; results of tools stay apart.
func merge(messages []message) (merged []*message) {
	for n := range messages {
		last := len(merged) - 1
		if last >= 0 && merged[last].Role == messages[n].Role && messages[n].Role != "tool" {
			merged[last].Content += "\n\n" + messages[n].Content
		} else {
			merged = append(merged, &messages[n])
		}
	}
	return merged
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	var given struct {
		Template string
		Chats    []struct {
			Messages []message
			Tools    []tool
		}
	}
	must(json.NewDecoder(os.Stdin).Decode(&given))
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(given.Template))
	texts := []string{}
	for _, chat := range given.Chats {
		var text bytes.Buffer
		must(parsed.Execute(&text, map[string]any{"Messages": merge(chat.Messages), "Tools": chat.Tools}))
		texts = append(texts, text.String())
	}
	must(json.NewEncoder(os.Stdout).Encode(texts))
}
