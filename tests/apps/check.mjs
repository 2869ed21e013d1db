// {"tokenizer", "config", "texts", "template", "chats"} in; ids and rendered chats as transformers.js makes them out.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const load = createRequire(`${process.cwd()}/package.json`); // the page's own packages
const { Tokenizer } = load("@huggingface/tokenizers");
const { Template } = load("@huggingface/jinja");

const given = JSON.parse(readFileSync(0, "utf-8"));
const tokenizer = new Tokenizer(given.tokenizer, given.config);
const template = new Template(given.config.chat_template);
const ids = given.texts.map((text) => tokenizer.encode(text, { add_special_tokens: false }).ids);
const chats = given.chats.map((chat) => template.render(chat));
console.log(JSON.stringify({ ids, chats }));
