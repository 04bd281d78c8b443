//! Where a model's layers are: in memory, or in the file if there is not enough of it.
//!
//! A layer that isn't kept is read and repacked each time it is needed, for as many tokens as a step has, while
//! the system already reads the next such layer. So a model larger than the memory runs at the speed of the disk
//! for what is missing, and not at all slower for what isn't. Layers that aren't kept are spread evenly among
//! the others, so that the disk never waits.

use std::ops::Deref;
use std::path::Path;

use weights::Checkpoint;

use crate::cost::LayerCost;
use crate::load::Loader;
use crate::{Error, Layer, Model};

/// All layers of a model.
pub(crate) struct Layers(Vec<Slot>);

struct Slot {
    cost: LayerCost,
    /// Whether what is large in its keys' biases is never stored with them.
    has_key_bias: bool,
    home: Home,
}

enum Home {
    Memory(Box<Layer>),
    /// The tensors it is made of, by their GGUF names.
    File(Vec<String>),
}

/// A layer while it is at work.
pub(crate) enum InUse<'m> {
    Kept(&'m Layer),
    Read(Box<Layer>),
}

impl Deref for InUse<'_> {
    type Target = Layer;

    fn deref(&self) -> &Layer {
        match self {
            InUse::Kept(layer) => layer,
            InUse::Read(layer) => layer,
        }
    }
}

impl Layers {
    /// Loads the layers for which `keep` is true, and looks once at each of the others.
    pub(crate) fn load(
        loader: &Loader<'_>,
        config: &crate::Config,
        keep: &[bool],
    ) -> Result<Layers, Error> {
        let slot = |(i, keep): (usize, &bool)| {
            // What isn't kept has memory of its own, which is given back at once.
            let layer = match keep {
                true => loader.layer(config, i)?,
                false => loader.apart().layer(config, i)?,
            };
            Ok(Slot {
                cost: LayerCost::of(&layer),
                has_key_bias: layer.apart().is_some_and(|apart| apart.keys.is_some()),
                home: match keep {
                    true => Home::Memory(Box::new(layer)),
                    false => Home::File(tensors_of(loader.checkpoint, i)),
                },
            })
        };
        keep.iter().enumerate().map(slot).collect::<Result<_, Error>>().map(Layers)
    }

    pub(crate) fn costs(&self) -> impl Iterator<Item = &LayerCost> {
        self.0.iter().map(|slot| &slot.cost)
    }

    /// Whether any layer has something to add to keys after they are read from a cache.
    pub(crate) fn any_key_bias(&self) -> bool {
        self.0.iter().any(|slot| slot.has_key_bias)
    }

    /// Layer `i`, if it is in memory.
    pub(crate) fn kept(&self, i: usize) -> Option<&Layer> {
        match &self.0.get(i)?.home {
            Home::Memory(layer) => Some(layer),
            Home::File(_) => None,
        }
    }

    fn in_file(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter(|slot| matches!(slot.home, Home::File(_)))
    }

    /// The tensors of the first layer after `i` that is in the file, beginning again after the last.
    fn next_in_file(&self, i: usize) -> &[String] {
        let after = self.0[i + 1..].iter().chain(&self.0[..=i]);
        let next = after.into_iter().find_map(|slot| match &slot.home {
            Home::File(tensors) => Some(&tensors[..]),
            Home::Memory(_) => None,
        });
        next.unwrap_or_default()
    }
}

impl Model {
    /// Layer `i`, read from the file if it isn't in memory.
    pub(crate) fn layer_to_run(&self, i: usize) -> Result<InUse<'_>, Error> {
        if let Some(layer) = self.layers.kept(i) {
            return Ok(InUse::Kept(layer));
        }
        let layer =
            Loader::new(&self.checkpoint, &self.pool, &self.config).layer(&self.config, i)?;
        for name in self.layers.next_in_file(i) {
            self.checkpoint.prefetch(name);
        }
        Ok(InUse::Read(Box::new(layer)))
    }

    /// How many layers are read from the file each time they are needed, and how many bytes they take while
    /// they are at work, all together.
    pub fn layers_in_file(&self) -> (usize, u64) {
        let bytes: f64 = self.layers.in_file().map(|slot| slot.cost.bytes).sum();
        (self.layers.in_file().count(), bytes as u64)
    }
}

/// Which layers are kept in memory so that all weights together take no more than `room` bytes, of which `rest`
/// are taken by what isn't a layer; `sizes` are the layers' own. One layer's memory is left free for those that
/// are read in turn.
pub(crate) fn choose(sizes: &[u64], rest: u64, room: u64, path: &Path) -> Result<Vec<bool>, Error> {
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let all: u64 = sizes.iter().sum();
    if rest.saturating_add(all) <= room {
        return Ok(vec![true; sizes.len()]);
    }
    let count = sizes.len();
    for in_file in 1..=count {
        let keep = |i: usize| (i + 1) * in_file / count == i * in_file / count;
        let kept: u64 = (0..count).filter(|i| keep(*i)).map(|i| sizes[i]).sum();
        if rest.saturating_add(kept).saturating_add(largest) <= room {
            return Ok((0..count).map(keep).collect());
        }
    }
    Err(Error::Memory { path: path.to_owned(), room, needed: rest.saturating_add(largest) })
}

/// Bytes of each of `count` layers in memory.
pub(crate) fn sizes(checkpoint: &Checkpoint, count: usize) -> Vec<u64> {
    let mut sizes = vec![0u64; count];
    for info in checkpoint.tensors() {
        if let Some(size) = layer_of(&info.name).and_then(|i| sizes.get_mut(i)) {
            *size = size.saturating_add(info.loaded_bytes());
        }
    }
    sizes
}

fn tensors_of(checkpoint: &Checkpoint, layer: usize) -> Vec<String> {
    let names = checkpoint.tensors().iter().map(|info| &info.name);
    names.filter(|name| layer_of(name) == Some(layer)).cloned().collect()
}

/// The layer that a tensor belongs to: `blk.7.attn_q.weight` to 7.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_layers_are_kept_as_fit() {
        let choose = |room| choose(&[10; 8], 5, room, Path::new("file"));
        let kept = |room| choose(room).unwrap().iter().filter(|keep| **keep).count();
        assert_eq!(kept(85), 8);
        // One layer's memory is for those that are read in turn.
        assert_eq!(kept(84), 6);
        assert_eq!(kept(25), 1);
        assert_eq!(kept(15), 0);
        let error = choose(14).unwrap_err().to_string();
        assert!(error.contains("at least 15"), "{error}");
        assert_eq!(
            choose(55).unwrap(),
            [true, false, true, false, true, false, true, false],
            "spread evenly"
        );
    }

    #[test]
    fn layers_are_told_by_names() {
        assert_eq!(layer_of("blk.12.attn_q.weight"), Some(12));
        assert_eq!(layer_of("blk.x.attn_q.weight"), None);
        assert_eq!(layer_of("output.weight"), None);
    }
}
