//! Keys and values of the tokens read so far, in pages of [`PAGE`] positions.
//!
//! A [`Sequence`] is a list of pages and a length. Pages are counted: [`KvCache::fork`] shares
//! them, and the first write to a shared page copies it. Memory is taken when a page is first
//! needed and kept for the next sequence afterwards.

use kernels::attention::{
    Angles, Apart, KeyBias, KvShape, KvType, PAGE, Sparse, bound_keys, bounds_bytes,
};
use kernels::{Aligned, Isa};

use crate::rope::Rope;
use crate::{Config, Error};

/// How a cache stores what it is given, and how much of it is attended to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheOptions {
    /// How keys and values are stored.
    pub ty: KvType,
    /// Whether far pages are left out, by all layers but the first two; those with a window see
    /// all of it.
    pub sparse: Option<Sparse>,
}

impl From<KvType> for CacheOptions {
    fn from(ty: KvType) -> CacheOptions {
        CacheOptions { ty, sparse: None }
    }
}

struct Page {
    /// All layers, one after the other, each `KvShape::page_bytes` long; then, if pages are left out,
    /// what is known of each layer's keys, each `bounds_bytes` long.
    data: Aligned,
    /// Sequences that hold it.
    owners: usize,
}

/// The pages of all sequences of one model.
pub struct KvCache {
    shape: KvShape,
    layers: usize,
    pages: Vec<Page>,
    free: Vec<usize>,
    limit: usize,
    /// Of the positions seen so far, where keys are stored without all of their bias: of texts that aren't scaled, and
    /// of those that are.
    angles: [Angles; 2],
    /// How much each layer leaves out.
    sparse: Vec<Option<Sparse>>,
}

/// One text's place in the cache. It must be given back with [`KvCache::release`].
#[derive(Debug, Default)]
pub struct Sequence {
    pages: Vec<usize>,
    len: usize,
    scaled: bool,
}

/// A page held outside any sequence; see [`KvCache::hold`].
#[derive(Debug)]
pub struct HeldPage(usize);

impl Sequence {
    /// Tokens whose keys and values are there.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The same, to be read as a text whose positions are stretched, or as one whose positions aren't, where a
    /// model tells them apart ([`Model::scales`](crate::Model::scales)). What is there must have been read so.
    pub fn scaled(self, scaled: bool) -> Sequence {
        Sequence { scaled, ..self }
    }

    /// Whether its positions are stretched.
    pub fn is_scaled(&self) -> bool {
        self.scaled
    }
}

impl KvCache {
    /// A cache for at most `tokens` positions, rounded up to whole pages, all sequences together.
    pub fn new(config: &Config, options: impl Into<CacheOptions>, tokens: usize) -> KvCache {
        let CacheOptions { ty, sparse } = options.into();
        KvCache {
            shape: KvShape {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                latent: config.latent.map(|latent| latent.kv_lora_rank),
                ty,
            },
            layers: config.layers,
            pages: Vec::new(),
            free: Vec::new(),
            limit: tokens.div_ceil(PAGE),
            angles: Default::default(),
            sparse: (0..config.layers).map(|index| config.sparse_of(index, sparse)).collect(),
        }
    }

    /// Works out the angles of so many positions of texts like this one, if they aren't known yet.
    pub(crate) fn know_angles(
        &mut self,
        sequence: &Sequence,
        positions: usize,
        rope: &Rope,
        rotated: usize,
    ) {
        self.angles[usize::from(sequence.scaled)].extend(
            positions,
            rotated,
            |position, cos, sin| rope.angles(position, cos, sin),
        );
    }

    /// What [`KvCache::know_angles`] has worked out for texts like this one.
    pub(crate) fn angles(&self, sequence: &Sequence) -> &Angles {
        &self.angles[usize::from(sequence.scaled)]
    }

    /// How much of a long text layer `index` leaves out, if any.
    pub(crate) fn sparse(&self, index: usize) -> Option<Sparse> {
        self.sparse[index]
    }

    /// Whether pages are left out.
    pub fn leaves_out(&self) -> bool {
        self.sparse.iter().any(Option::is_some)
    }

    /// Bytes of what is known of a layer's keys.
    fn bounds_bytes(&self) -> usize {
        if self.leaves_out() { bounds_bytes(&self.shape) } else { 0 }
    }

    /// Sees to what is to be known of the keys of the pages of layer `index` that positions from `from` to `to` have
    /// filled. `bias` is what of the keys is not stored.
    pub(crate) fn bound(
        &mut self,
        isa: Isa,
        sequence: &Sequence,
        index: usize,
        (from, to): (usize, usize),
        bias: Option<&KeyBias>,
    ) {
        if self.sparse(index).is_none() {
            return;
        }
        let (bytes, bounds) = (self.shape.page_bytes(), self.bounds_bytes());
        for page in from / PAGE..to / PAGE {
            let (pages, known) =
                self.pages[sequence.pages[page]].data.split_at_mut(self.layers * bytes);
            let angles = &self.angles[usize::from(sequence.scaled)];
            let apart = bias.map(|bias| Apart { bias, angles });
            bound_keys(
                isa,
                &self.shape,
                &pages[index * bytes..][..bytes],
                (apart, page),
                &mut known[index * bounds..][..bounds],
            );
        }
    }

    /// What is known of the keys of one layer of each of a sequence's pages; nothing, if none is left out.
    pub(crate) fn bounds(&self, sequence: &Sequence, layer: usize) -> Vec<&[u8]> {
        if self.sparse(layer).is_none() {
            return Vec::new();
        }
        let (at, bounds) = (self.layers * self.shape.page_bytes(), self.bounds_bytes());
        let slice = |page: &usize| &self.pages[*page].data[at + layer * bounds..][..bounds];
        sequence.pages.iter().map(slice).collect()
    }

    /// Heads and storage type.
    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Bytes of one position's keys and values, all layers together, and of its share of what is known of a page.
    pub fn token_bytes(&self) -> usize {
        self.page_bytes() / PAGE
    }

    /// Bytes that attention reads for a token that sees `seen` positions, all layers together.
    pub fn bytes_read(&self, seen: f64) -> f64 {
        let (page, bounds) = (self.shape.page_bytes() as f64, self.bounds_bytes() as f64);
        let of_layer = |sparse: &Option<Sparse>| match sparse.map(|sparse| sparse.budget as f64) {
            Some(budget) if seen > budget => page * budget + bounds * seen,
            _ => page * seen,
        };
        self.sparse.iter().map(of_layer).sum::<f64>() / PAGE as f64
    }

    /// Pages there may be, all in all.
    pub fn limit_pages(&self) -> usize {
        self.limit
    }

    /// Pages that could still be handed out.
    pub fn free_pages(&self) -> usize {
        self.free.len() + (self.limit - self.pages.len())
    }

    /// Pages that [`Model::forward`](crate::Model::forward) will take to append `tokens` tokens to
    /// a sequence: new ones at its end, and a copy of its last one if that is shared.
    pub fn pages_needed(&self, sequence: &Sequence, tokens: usize) -> usize {
        if tokens == 0 {
            return 0;
        }
        let new = (sequence.len + tokens).div_ceil(PAGE).saturating_sub(sequence.pages.len());
        new + self.shared(sequence).count()
    }

    /// Indices, in the sequence, of the pages that are shared and would be written to next.
    fn shared<'a>(&'a self, sequence: &'a Sequence) -> impl Iterator<Item = usize> + 'a {
        let first_written = sequence.len / PAGE;
        (first_written..sequence.pages.len()).filter(|i| self.pages[sequence.pages[*i]].owners > 1)
    }

    /// Makes room for `tokens` more positions of a sequence.
    ///
    /// # Errors
    /// There aren't enough pages; nothing has changed then.
    pub(crate) fn reserve(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), Error> {
        let needed = self.pages_needed(sequence, tokens);
        if needed > self.free_pages() {
            return Err(Error::CacheFull { needed, free: self.free_pages(), limit: self.limit });
        }
        if tokens == 0 {
            return Ok(());
        }
        for i in self.shared(sequence).collect::<Vec<_>>() {
            let old = sequence.pages[i];
            let copy = self.take_page();
            let [from, to] = self.pages.get_disjoint_mut([old, copy]).unwrap_or_else(|_| {
                unreachable!("a page just taken is not one that is held");
            });
            to.data.copy_from_slice(&from.data);
            from.owners -= 1;
            sequence.pages[i] = copy;
        }
        while sequence.pages.len() * PAGE < sequence.len + tokens {
            let page = self.take_page();
            sequence.pages.push(page);
        }
        Ok(())
    }

    /// A page nobody holds. [`KvCache::reserve`] has made sure there is one.
    fn take_page(&mut self) -> usize {
        let page = self.free.pop().unwrap_or_else(|| {
            let data = Aligned::zeroed(self.page_bytes());
            self.pages.push(Page { data, owners: 0 });
            self.pages.len() - 1
        });
        self.pages[page].owners = 1;
        page
    }

    /// A second sequence with the same beginning; no keys or values are copied.
    pub fn fork(&mut self, sequence: &Sequence) -> Sequence {
        for page in &sequence.pages {
            self.pages[*page].owners += 1;
        }
        Sequence { pages: sequence.pages.clone(), ..*sequence }
    }

    /// A second sequence with the same contents in pages of its own, as if it had been read twice.
    ///
    /// # Errors
    /// There aren't enough pages; nothing has changed then.
    pub fn copy(&mut self, sequence: &Sequence) -> Result<Sequence, Error> {
        let (needed, free) = (sequence.pages.len(), self.free_pages());
        if needed > free {
            return Err(Error::CacheFull { needed, free, limit: self.limit });
        }
        let pages = sequence.pages.iter().map(|from| {
            let to = self.take_page();
            let [from, copy] = self.pages.get_disjoint_mut([*from, to]).unwrap_or_else(|_| {
                unreachable!("a page just taken is not one that is held");
            });
            copy.data.copy_from_slice(&from.data);
            to
        });
        Ok(Sequence { pages: pages.collect(), ..*sequence })
    }

    /// Forgets everything after the first `len` tokens.
    pub fn truncate(&mut self, sequence: &mut Sequence, len: usize) {
        sequence.len = sequence.len.min(len);
        let keep = sequence.len.div_ceil(PAGE);
        for page in sequence.pages.drain(keep..) {
            self.drop_owner(page);
        }
    }

    fn drop_owner(&mut self, page: usize) {
        let owners = &mut self.pages[page].owners;
        *owners -= 1;
        if *owners == 0 {
            self.free.push(page);
        }
    }

    /// Holds page number `index` of a sequence for its own sake: its contents stay as they are,
    /// whatever becomes of the sequence, until [`KvCache::let_go`].
    ///
    /// # Panics
    /// If the sequence has fewer pages.
    pub fn hold(&mut self, sequence: &Sequence, index: usize) -> HeldPage {
        let page = sequence.pages[index];
        self.pages[page].owners += 1;
        HeldPage(page)
    }

    /// Gives a held page back.
    pub fn let_go(&mut self, page: HeldPage) {
        self.drop_owner(page.0);
    }

    /// A page that nobody had, held like those of [`KvCache::hold`], to be written to with
    /// [`KvCache::held_mut`]; none if all are taken.
    pub fn hold_new(&mut self) -> Option<HeldPage> {
        (self.free_pages() > 0).then(|| HeldPage(self.take_page()))
    }

    /// What a held page holds: all layers, one after the other.
    pub fn held(&self, page: &HeldPage) -> &[u8] {
        &self.pages[page.0].data
    }

    /// The same, to write to.
    ///
    /// # Panics
    /// If somebody else has the page too.
    pub fn held_mut(&mut self, page: &HeldPage) -> &mut [u8] {
        assert!(!self.is_shared(page), "shared pages are not written to");
        &mut self.pages[page.0].data
    }

    /// Bytes of a page, all layers together.
    pub fn page_bytes(&self) -> usize {
        self.layers * (self.shape.page_bytes() + self.bounds_bytes())
    }

    /// Whether some sequence, or somebody else, has a held page too.
    pub fn is_shared(&self, page: &HeldPage) -> bool {
        self.pages[page.0].owners > 1
    }

    /// A sequence of `len` tokens, not scaled, that begins with held pages; nothing is copied.
    ///
    /// # Panics
    /// If it takes more, or fewer, pages to hold so many tokens.
    pub fn join<'a>(
        &mut self,
        pages: impl IntoIterator<Item = &'a HeldPage>,
        len: usize,
    ) -> Sequence {
        let pages: Vec<usize> = pages.into_iter().map(|page| page.0).collect();
        assert_eq!(pages.len(), len.div_ceil(PAGE), "{len} tokens take other pages");
        for page in &pages {
            self.pages[*page].owners += 1;
        }
        Sequence { pages, len, scaled: false }
    }

    /// Gives a sequence's pages back.
    pub fn release(&mut self, mut sequence: Sequence) {
        self.truncate(&mut sequence, 0);
    }

    /// Counts `tokens` more positions, now written, as part of the sequence.
    pub(crate) fn advance(&self, sequence: &mut Sequence, tokens: usize) {
        sequence.len += tokens;
        debug_assert!(sequence.len <= sequence.pages.len() * PAGE);
    }

    /// One layer of the page that holds `position`, to write to.
    pub(crate) fn page_mut(
        &mut self,
        sequence: &Sequence,
        layer: usize,
        position: usize,
    ) -> &mut [u8] {
        let bytes = self.shape.page_bytes();
        let page = &mut self.pages[sequence.pages[position / PAGE]];
        debug_assert_eq!(page.owners, 1, "shared pages are copied before they are written");
        &mut page.data[layer * bytes..(layer + 1) * bytes]
    }

    /// One layer of each of a sequence's pages.
    pub(crate) fn layer(&self, sequence: &Sequence, layer: usize) -> Vec<&[u8]> {
        let bytes = self.shape.page_bytes();
        let slice = |page: &usize| &self.pages[*page].data[layer * bytes..(layer + 1) * bytes];
        sequence.pages.iter().map(slice).collect()
    }
}

#[cfg(test)]
mod tests {
    use kernels::ops::RopeLayout;

    use super::*;
    use crate::config::{Activation, Presence};
    use crate::{RopeConfig, RopeScaling};

    fn cache(tokens: usize) -> KvCache {
        let config = Config {
            architecture: "llama".to_owned(),
            layers: 2,
            hidden: 32,
            heads: 2,
            kv_heads: 1,
            head_dim: 16,
            latent: None,
            ffn: 32,
            experts: None,
            rms_norm_eps: 1e-5,
            context_length: 1024,
            rope: RopeConfig::new(1e4, 16, RopeLayout::Halves, RopeScaling::None),
            qkv_bias: Presence::Never,
            qk_norm: Presence::Never,
            norm_after_rope: false,
            fused: false,
            window: None,
            attention_scale: 0.25,
            embedding_scale: 1.0,
            activation: Activation::Silu,
            post_norms: false,
            norm_shift: 0.0,
        };
        KvCache::new(&config, KvType::F16, tokens)
    }

    fn grow(cache: &mut KvCache, sequence: &mut Sequence, tokens: usize) {
        cache.reserve(sequence, tokens).unwrap();
        cache.advance(sequence, tokens);
    }

    #[test]
    fn pages_come_and_go() {
        let mut cache = cache(3 * PAGE);
        let mut a = Sequence::default();
        grow(&mut cache, &mut a, PAGE + 1);
        assert_eq!(cache.free_pages(), 1);
        let error = cache.reserve(&mut a, 2 * PAGE).unwrap_err();
        assert!(matches!(error, Error::CacheFull { needed: 2, free: 1, limit: 3 }), "{error}");
        assert_eq!((a.len(), cache.free_pages()), (PAGE + 1, 1));
        cache.truncate(&mut a, PAGE);
        assert_eq!((a.len(), cache.free_pages()), (PAGE, 2));
        cache.release(a);
        assert_eq!(cache.free_pages(), 3);
    }

    #[test]
    fn forks_share_until_they_write() {
        let mut cache = cache(8 * PAGE);
        let mut a = Sequence::default();
        grow(&mut cache, &mut a, PAGE + 10);
        cache.page_mut(&a, 1, PAGE)[0] = 42;
        let mut b = cache.fork(&a);
        assert_eq!(cache.free_pages(), 6);
        grow(&mut cache, &mut b, 1);
        assert_eq!(cache.free_pages(), 5, "only the half-full page is copied");
        assert_eq!(cache.layer(&b, 1)[1][0], 42);
        cache.page_mut(&b, 1, PAGE)[0] = 7;
        assert_eq!((cache.layer(&a, 1)[1][0], cache.layer(&b, 1)[1][0]), (42, 7));
        cache.release(a);
        cache.release(b);
        assert_eq!(cache.free_pages(), 8);
    }

    #[test]
    fn held_pages_outlive_their_sequence() {
        let mut cache = cache(4 * PAGE);
        let mut a = Sequence::default();
        grow(&mut cache, &mut a, PAGE + 10);
        cache.page_mut(&a, 0, 0)[0] = 1;
        cache.page_mut(&a, 0, PAGE)[0] = 2;
        let held = [cache.hold(&a, 0), cache.hold(&a, 1)];
        assert!(cache.is_shared(&held[0]));
        cache.release(a);
        assert!(!cache.is_shared(&held[0]));
        assert_eq!(cache.free_pages(), 2);
        let mut b = cache.join(&held, PAGE + 5);
        assert_eq!((b.len(), cache.free_pages()), (PAGE + 5, 2));
        assert_eq!(cache.pages_needed(&b, 1), 1, "the half-full page will be copied");
        grow(&mut cache, &mut b, 1);
        cache.page_mut(&b, 0, PAGE)[0] = 3;
        assert_eq!((cache.layer(&b, 0)[0][0], cache.layer(&b, 0)[1][0]), (1, 3));
        let c = cache.join(&held, 2 * PAGE);
        assert_eq!(cache.layer(&c, 0)[1][0], 2, "what is held has not changed");
        cache.release(b);
        cache.release(c);
        held.into_iter().for_each(|page| cache.let_go(page));
        assert_eq!(cache.free_pages(), 4);
    }

    #[test]
    fn new_pages_are_held_while_there_are_any() {
        let mut cache = cache(2 * PAGE);
        let pages = [cache.hold_new().unwrap(), cache.hold_new().unwrap()];
        assert!(cache.hold_new().is_none());
        assert_eq!(cache.held_mut(&pages[1]).len(), cache.page_bytes());
        cache.held_mut(&pages[1])[3] = 9;
        let text = cache.join(&pages, PAGE + 1);
        assert_eq!(cache.layer(&text, 0)[1][3], 9);
        assert_eq!(cache.held(&pages[1])[3], 9);
        cache.release(text);
        pages.into_iter().for_each(|page| cache.let_go(page));
        assert_eq!(cache.free_pages(), 2);
    }

    #[test]
    fn copies_share_nothing() {
        let mut cache = cache(5 * PAGE);
        let mut a = Sequence::default();
        grow(&mut cache, &mut a, PAGE + 10);
        cache.page_mut(&a, 1, 3)[0] = 42;
        let b = cache.copy(&a).unwrap();
        assert_eq!((b.len(), cache.free_pages()), (PAGE + 10, 1));
        assert_eq!(cache.layer(&b, 1)[0][0], 42);
        cache.page_mut(&b, 1, 3)[0] = 7;
        assert_eq!(cache.layer(&a, 1)[0][0], 42);
        let error = cache.copy(&a).unwrap_err();
        assert!(matches!(error, Error::CacheFull { needed: 2, free: 1, limit: 5 }), "{error}");
        cache.release(a);
        cache.release(b);
        assert_eq!(cache.free_pages(), 5);
    }
}
