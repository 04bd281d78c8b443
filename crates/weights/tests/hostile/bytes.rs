//! GGUF byte by byte, as no sane writer would do it.

/// Type numbers of metadata values.
pub const U8: u32 = 0;
pub const U32: u32 = 4;
pub const BOOL: u32 = 7;
pub const STR: u32 = 8;
pub const ARRAY: u32 = 9;
/// Type numbers of tensors.
pub const F32: u32 = 0;
pub const Q8_0: u32 = 8;
pub const IQ2_XXS: u32 = 16;

/// Bytes under construction.
#[derive(Clone, Default)]
pub struct Raw(pub Vec<u8>);

impl Raw {
    /// The start of a file that announces this many tensors and keys.
    pub fn file(tensors: u64, keys: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend(bytes);
        self
    }

    pub fn u32(self, v: u32) -> Raw {
        self.bytes(&v.to_le_bytes())
    }

    pub fn u64(self, v: u64) -> Raw {
        self.bytes(&v.to_le_bytes())
    }

    pub fn str(self, text: &str) -> Raw {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    /// A key and the type of the value that follows.
    pub fn key(self, key: &str, ty: u32) -> Raw {
        self.str(key).u32(ty)
    }

    /// A tensor's description; dimensions as in the file, innermost first.
    pub fn tensor(self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Raw {
        let raw = self.str(name).u32(dims.len() as u32);
        dims.iter().fold(raw, |raw, &dim| raw.u64(dim)).u32(ty).u64(offset)
    }

    /// Zeros up to the next multiple of 32, then `n` bytes of data.
    pub fn data(mut self, n: usize) -> Raw {
        self.0.resize(self.0.len().next_multiple_of(32), 0);
        self.0.resize(self.0.len() + n, 0x55);
        self
    }
}

/// A small file with every kind of thing in its header.
pub fn sound() -> Raw {
    Raw::file(2, 6)
        .key("general.architecture", STR)
        .str("qwen2")
        .key("qwen2.block_count", U32)
        .u32(1)
        .key("general.flag", BOOL)
        .bytes(&[1])
        .key("tokenizer.ggml.tokens", ARRAY)
        .u32(STR)
        .u64(3)
        .str("a")
        .str("")
        .str("ßü")
        .key("tokenizer.ggml.token_type", ARRAY)
        .u32(U32)
        .u64(2)
        .u32(1)
        .u32(3)
        .key("odd.nested", ARRAY)
        .u32(ARRAY)
        .u64(2)
        .u32(U8)
        .u64(1)
        .bytes(&[7])
        .u32(STR)
        .u64(1)
        .str("x")
        .tensor("token_embd.weight", &[32, 3], Q8_0, 0)
        .tensor("output_norm.weight", &[5], F32, 128)
        .data(128 + 20)
}
