//! Files made to hurt: each must give one clear error that names file, field and remedy, and
//! must neither panic nor be believed.

mod bytes;
mod gguf;
mod safetensors;
