// Writes llama.cpp's logits for every position of a text, in the format of `ponder logits`:
//
//   "PNDLOGIT", u32 version = 1, u32 n_vocab, u32 n_positions,
//   then for each position: u32 token, n_vocab x f32 logits of the token that follows it.
//
// The text is tokenized as a whole and cut into chunks of CTX tokens, each evaluated from an empty cache; where
// the vocabulary asks for BOS, it replaces the first token of every chunk. `benches/accuracy` compiles and runs
// this.

#include "llama.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

static void fail(const char * what, const char * name) {
    fprintf(stderr, "peer_logits: %s: %s\n", what, name);
    exit(1);
}

static std::string read_text(const char * path) {
    FILE * file = fopen(path, "rb");
    if (!file) fail("cannot open", path);
    std::string text;
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, n);
    fclose(file);
    return text;
}

static void write_u32(FILE * out, uint32_t value) {
    fwrite(&value, sizeof value, 1, out);
}

int main(int argc, char ** argv) {
    if (argc != 8) fail("usage", "peer_logits MODEL TEXT CTX OUT THREADS BATCH on|off");
    const std::string text = read_text(argv[2]);
    const int ctx_size = atoi(argv[3]);
    const int threads = atoi(argv[5]);
    const int batch_size = atoi(argv[6]);

    llama_log_set([](ggml_log_level level, const char * message, void *) {
        if (level == GGML_LOG_LEVEL_ERROR) fputs(message, stderr);
    }, nullptr);
    llama_backend_init();
    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) fail("cannot load", argv[1]);
    const llama_vocab * vocab = llama_model_get_vocab(model);
    const int n_vocab = llama_vocab_n_tokens(vocab);

    std::vector<llama_token> tokens(text.size() + 8);
    const int n_tokens = llama_tokenize(vocab, text.data(), text.size(), tokens.data(), tokens.size(), false, false);
    if (n_tokens < 0) fail("cannot tokenize", argv[2]);
    if (llama_vocab_get_add_bos(vocab)) {
        for (int i = 0; i < n_tokens; i += ctx_size) tokens[i] = llama_vocab_bos(vocab);
    }

    llama_context_params params = llama_context_default_params();
    params.n_ctx = ctx_size;
    params.n_batch = batch_size;
    params.n_ubatch = batch_size;
    params.n_threads = params.n_threads_batch = threads;
    params.flash_attn_type = strcmp(argv[7], "on") == 0 ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context * ctx = llama_init_from_model(model, params);
    if (!ctx) fail("cannot make a context for", argv[1]);

    FILE * out = fopen(argv[4], "wb");
    if (!out) fail("cannot write", argv[4]);
    fwrite("PNDLOGIT", 1, 8, out);
    write_u32(out, 1);
    write_u32(out, n_vocab);
    write_u32(out, n_tokens);

    llama_batch batch = llama_batch_init(batch_size, 0, 1);
    for (int start = 0; start < n_tokens; start += batch.n_tokens) {
        const int position = start % ctx_size;
        if (position == 0) llama_memory_clear(llama_get_memory(ctx), true);
        batch.n_tokens = batch_size;
        if (batch.n_tokens > ctx_size - position) batch.n_tokens = ctx_size - position;
        if (batch.n_tokens > n_tokens - start) batch.n_tokens = n_tokens - start;
        for (int i = 0; i < batch.n_tokens; ++i) {
            batch.token[i] = tokens[start + i];
            batch.pos[i] = position + i;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = 0;
            batch.logits[i] = 1;
        }
        if (llama_decode(ctx, batch) != 0) fail("cannot evaluate", argv[2]);
        for (int i = 0; i < batch.n_tokens; ++i) {
            write_u32(out, tokens[start + i]);
            fwrite(llama_get_logits_ith(ctx, i), sizeof(float), n_vocab, out);
        }
    }
    if (fclose(out) != 0) fail("cannot write", argv[4]);
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
}
