/* Knows how a C program asks Mini: a .gguf file, one question, greedy tokens printed as they come (llama.cpp's C API). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

enum { BATCH = 256, MOST_CONTEXT = 4096 };

static llama_token *prompt;
static int32_t length, room;
static const struct llama_vocab *vocab;

static void fail(const char *what, const char *remedy) {
    fprintf(stderr, "error: %s; %s\n", what, remedy);
    exit(2);
}

static void quiet(enum ggml_log_level level, const char *text, void *data) {
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

/* Appends a stretch of the chat. Only `control` text may become control tokens, so a question cannot close its turn. */
static void say(const char *text, bool control) {
    int32_t bytes = (int32_t)strlen(text);
    if (length + bytes > room) { /* a token stands for a byte or more */
        room = 2 * (length + bytes);
        prompt = realloc(prompt, (size_t)room * sizeof *prompt);
        if (!prompt) fail("no memory for the prompt", "ask less");
    }
    int32_t count = llama_tokenize(vocab, text, bytes, prompt + length, room - length, false, control);
    if (count < 0) fail("llama.cpp cannot tokenize the text", "give less of it");
    length += count;
}

static void turn(const char *role, const char *content) {
    char *body = malloc(strlen(content) + 3);
    if (!body) fail("no memory for a turn", "ask less");
    strcat(strcpy(body, "\n\n"), content); /* one text, so that a content's own leading newlines merge with it */
    say("<|start_header_id|>", true);
    say(role, true);
    say("<|end_header_id|>", true);
    say(body, false);
    say("<|eot_id|>", true);
    free(body);
}

static llama_token read_and_choose(struct llama_context *context, struct llama_sampler *greedy, int32_t from) {
    for (int32_t at = from; at < length; at += BATCH) {
        int32_t count = length - at < BATCH ? length - at : BATCH;
        if (llama_decode(context, llama_batch_get_one(prompt + at, count))) fail("llama.cpp failed", "try a newer one");
    }
    return llama_sampler_sample(greedy, context, -1);
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 5) fail("usage: ask MODEL.gguf QUESTION [MAX_TOKENS [SYSTEM]]", "give a file and a question");
    long most = argc > 3 ? strtol(argv[3], NULL, 10) : 200;
    llama_log_set(quiet, NULL);
    struct llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) fail("llama.cpp refuses the file", "export it again");
    vocab = llama_model_get_vocab(model);

    say("<|begin_of_text|>", true);
    if (argc > 4) turn("system", argv[4]);
    turn("user", argv[2]);
    say("<|start_header_id|>assistant<|end_header_id|>\n\n", true);

    struct llama_context_params settings = llama_context_default_params();
    int32_t trained = llama_model_n_ctx_train(model), context_size = trained < MOST_CONTEXT ? trained : MOST_CONTEXT;
    settings.n_ctx = (uint32_t)context_size;
    settings.n_batch = settings.n_ubatch = BATCH;
    if (most < 1 || length + most > context_size) fail("question and MAX_TOKENS exceed the context", "ask for less");
    struct llama_context *context = llama_init_from_model(model, settings);
    if (!context) fail("no memory for the context", "close other programs");
    struct llama_sampler *greedy = llama_sampler_init_greedy();

    prompt = realloc(prompt, (size_t)(length + most) * sizeof *prompt);
    if (!prompt) fail("no memory for the answer", "ask for fewer tokens");
    int32_t asked = length;
    for (int32_t from = 0; length - asked < most; from = length - 1) {
        llama_token token = read_and_choose(context, greedy, from);
        prompt[length++] = token;
        if (llama_vocab_is_eog(vocab, token)) break;
        char piece[4096];
        int32_t bytes = llama_token_to_piece(vocab, token, piece, sizeof piece, 0, false);
        if (bytes > 0) fwrite(piece, 1, (size_t)bytes, stdout);
        fflush(stdout);
    }
    puts("");
    fputs("tokens:", stderr);
    for (int32_t at = asked; at < length; at++) fprintf(stderr, " %d", prompt[at]);
    fputs("\n", stderr);

    llama_sampler_free(greedy);
    llama_free(context);
    llama_model_free(model);
    free(prompt);
    return 0;
}
