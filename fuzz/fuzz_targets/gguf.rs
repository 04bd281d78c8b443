//! The GGUF header: whatever the bytes, no panic; and what is accepted survives being written
//! and read again.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weights::gguf::{GgufWriter, Header, TensorSpec};

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("m.gguf");
    let (header, error) = Header::parse_partial(bytes, path);
    let layout = header.layout(bytes.len() as u64, 0, path);
    let (None, Ok(tensors)) = (error, layout) else { return };

    let specs = tensors
        .iter()
        .map(|t| TensorSpec { name: t.name.clone(), shape: t.shape.clone(), ty: t.ty })
        .collect();
    let mut writer = GgufWriter::new(Vec::new(), &header.metadata, specs).expect("was read");
    for t in &tensors {
        writer.write_tensor(&t.name, &bytes[t.offset..t.offset + t.bytes]).expect("its own size");
    }
    let written = writer.finish().expect("all are written");

    let again = Header::parse(&written, path).expect("we wrote it");
    // As text: two NaNs are the same here.
    let shown = |h: &Header| h.metadata.iter().map(|pair| format!("{pair:?}")).collect::<Vec<_>>();
    assert_eq!(shown(&header), shown(&again));
    let placed = again.layout(written.len() as u64, 0, path).expect("we wrote it");
    assert_eq!(placed.len(), tensors.len());
    for (a, b) in tensors.iter().zip(&placed) {
        assert_eq!((&a.name, &a.shape, a.ty), (&b.name, &b.shape, b.ty));
        let (a, b) = (&bytes[a.offset..][..a.bytes], &written[b.offset..][..b.bytes]);
        assert_eq!(a, b);
    }
});
