//! What makes queries and latents.

use kernels::blocks::BlockType;
use kernels::matmul::Matrix;

use super::{Loader, dequantize};
use crate::config::LatentConfig;
use crate::latent::Latent;
use crate::{Config, Error};

impl Loader<'_> {
    pub(super) fn latent(
        &self,
        c: &Config,
        config: LatentConfig,
        i: usize,
    ) -> Result<Latent, Error> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let matrix = |part: &str, rows, cols| self.matrix(&name(part), rows, cols);
        let LatentConfig { q_lora_rank, kv_lora_rank, qk_nope_head_dim, v_head_dim, .. } = config;
        let q_rows = c.heads * (qk_nope_head_dim + c.rope.dim);
        let q_a = |rank| -> Result<_, Error> {
            let norm = self.vector(&name("attn_q_a_norm.weight"), rank)?;
            Ok((matrix("attn_q_a.weight", rank, c.hidden)?, norm))
        };
        let q_a = q_lora_rank.map(q_a).transpose()?;
        let q = match q_lora_rank {
            Some(rank) => matrix("attn_q_b.weight", q_rows, rank)?,
            None => matrix("attn_q.weight", q_rows, c.hidden)?,
        };
        // Newer files have the two apart, and the first transposed.
        let key = name("attn_k_b.weight");
        let (k_b, v_b) = match self.checkpoint.tensor(&key) {
            Some(_) => (
                self.stacked(&key, c.heads, kv_lora_rank, qk_nope_head_dim)?,
                self.stacked(&name("attn_v_b.weight"), c.heads, v_head_dim, kv_lora_rank)?,
            ),
            None => self.keys_and_values(&name("attn_kv_b.weight"), c.heads, config)?,
        };
        Ok(Latent {
            q_a,
            q,
            kv_a: matrix("attn_kv_a_mqa.weight", c.head_dim, c.hidden)?,
            kv_a_norm: self.vector(&name("attn_kv_a_norm.weight"), kv_lora_rank)?,
            k_b,
            v_b,
            config,
        })
    }

    /// Of a tensor that holds, for each head, what makes its keys of latents and then what makes its values, the first
    /// transposed and the second as it is. What is quantised is so along its rows: transposed, it is in f32.
    fn keys_and_values(
        &self,
        name: &str,
        heads: usize,
        config: LatentConfig,
    ) -> Result<(Vec<Matrix>, Vec<Matrix>), Error> {
        let LatentConfig { kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim, .. } = config;
        let rows = heads * (nope + v_head_dim);
        let (ty, data) = self.blocks(name, &[rows, rank])?;
        let row = data.len() / rows;
        let kept = if ty.block_len() == 1 { ty } else { BlockType::F32 };
        let (mut keys, mut values) = (Vec::with_capacity(heads), Vec::with_capacity(heads));
        for head in data.chunks_exact((nope + v_head_dim) * row) {
            let (key, value) = head.split_at(nope * row);
            let transposed = match kept == ty {
                true => transposed(key, rank, ty.block_bytes()),
                false => {
                    let mut numbers = vec![0.0; nope * rank];
                    dequantize(self.path, name, self.tensor(name)?.info, key, &mut numbers)?;
                    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                    transposed(&bytes, rank, kept.block_bytes())
                }
            };
            keys.push(self.pack(name, kept, (rank, nope), &transposed)?);
            values.push(self.pack(name, ty, (v_head_dim, rank), value)?);
        }
        self.checkpoint.release(name);
        Ok((keys, values))
    }
}

/// Rows of `cols` numbers of `size` bytes each, as columns.
fn transposed(rows: &[u8], cols: usize, size: usize) -> Vec<u8> {
    let row = cols * size;
    (0..row)
        .step_by(size)
        .flat_map(|at| rows.chunks_exact(row).flat_map(move |row| &row[at..at + size]))
        .copied()
        .collect()
}
