// Knows the page: opens the Mini that lies beside it, asks it, and shows the answer as it comes. Nothing leaves this origin.
import { AutoModelForCausalLM, AutoTokenizer, TextStreamer, env } from "@huggingface/transformers";

const MAX_TOKENS = 200;
const NAMES = ["#state", "#turns", "form", "fieldset", "#question", "#forget"];
const [state, turns, form, controls, question, forget] = NAMES.map((name) => document.querySelector(name));

for (const kind of ["error", "unhandledrejection"]) {
  addEventListener(kind, (event) => (state.textContent = `error: ${event.message ?? event.reason}`));
}
env.allowLocalModels = true;
env.allowRemoteModels = false;
env.localModelPath = "models/";
env.useBrowserCache = false; // it would show an old model after a new build; the browser's own cache asks for changes
env.backends.onnx.wasm.wasmPaths = new URL("ort/", document.baseURI).href;

const started = performance.now();
const tokenizer = await AutoTokenizer.from_pretrained("mini");
const model = await AutoModelForCausalLM.from_pretrained("mini", { device: "wasm" }); // its config.json says which dtype
const messages = [];
state.textContent = `준비됨 · ready after ${((performance.now() - started) / 1000).toFixed(1)} s`;
controls.disabled = false;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  controls.disabled = true;
  messages.push({ role: "user", content: asText(question.value) });
  show("user", question.value);
  question.value = "";
  try {
    messages.push({ role: "assistant", content: asText(await write(show("assistant", ""))) });
  } catch (error) {
    messages.pop();
    throw error;
  } finally {
    controls.disabled = false;
    question.focus();
  }
});

forget.addEventListener("click", () => {
  messages.length = 0;
  turns.append(document.createElement("hr"));
});

async function write(answer) {
  const tokens = [];
  const streamer = new TextStreamer(tokenizer, {
    skip_prompt: true,
    skip_special_tokens: true,
    callback_function: (text) => (answer.textContent += text),
    token_callback_function: (ids) => tokens.push(...ids),
  });
  const asked = performance.now();
  const inputs = prompt();
  const room = model.config.max_position_embeddings - inputs.input_ids.dims[1];
  if (room < 1) throw new Error("this question is longer than Mini's context; ask less");
  await model.generate({ ...inputs, max_new_tokens: Math.min(room, MAX_TOKENS), do_sample: false, streamer });
  const seconds = (performance.now() - asked) / 1000;
  state.textContent = `${tokens.length} tokens · ${(tokens.length / seconds).toFixed(0)} tokens/s`;
  answer.dataset.tokens = tokens.join(" ");
  return answer.textContent;
}

// The conversation as token ids; its oldest question and answer are forgotten when there is no room for a new answer.
function prompt() {
  const inputs = tokenizer.apply_chat_template(messages, { add_generation_prompt: true, return_dict: true });
  const full = inputs.input_ids.dims[1] + MAX_TOKENS > model.config.max_position_embeddings;
  if (!full || messages.length === 1) return inputs;
  messages.splice(0, 2);
  return prompt();
}

// The template's text is tokenized with what people wrote in it: a control token there must not be one.
function asText(content) {
  return content.replace(/<(?=\||pad>)/g, "< ");
}

function show(role, text) {
  const turn = document.createElement("p");
  turn.className = role;
  turn.textContent = text;
  turns.append(turn);
  return turn;
}
