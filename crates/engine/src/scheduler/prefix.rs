//! Beginnings of texts that have been read already.
//!
//! A tree of pages: each node holds up to [`PAGE`] tokens that follow its parent's, and the page
//! with their keys and values. A new prompt walks down as far as it agrees and starts from the
//! pages it passed; where it parts from a node in mid-page it takes that page too, and the cache
//! copies it when it is first written to. What has gone longest without use is forgotten first,
//! leaves before their parents. (The tree is the one of SGLang's RadixAttention, Zheng et al.
//! 2023, with pages for edges.)

use model::{HeldPage, KvCache, PAGE, Sequence};

/// Marks the variants of texts whose positions are stretched.
const SCALED: u64 = 1 << 63;

/// The variant of texts that were read without an adapter, their positions stretched or not.
pub(crate) fn variant_of(scaled: bool) -> u64 {
    if scaled { SCALED } else { 0 }
}

struct Node {
    /// What the cache was computed with: pages of different adapters, or of texts whose positions are stretched and
    /// of others, must not be mixed.
    variant: u64,
    tokens: Box<[u32]>,
    page: HeldPage,
    parent: Option<usize>,
    children: Vec<usize>,
    /// When it was last of use, on the tree's own clock.
    used: u64,
}

/// The tree.
#[derive(Default)]
pub(crate) struct PrefixTree {
    nodes: Vec<Option<Node>>,
    vacant: Vec<usize>,
    roots: Vec<usize>,
    clock: u64,
}

/// On how many tokens two texts agree from the start.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl PrefixTree {
    /// A sequence that begins like `tokens`, as far as anything in the tree does. `variant` tells
    /// apart what was computed with different adapters, or otherwise.
    pub(crate) fn start(&mut self, cache: &mut KvCache, variant: u64, tokens: &[u32]) -> Sequence {
        self.clock += 1;
        let (path, len) = self.walk(variant, tokens);
        for id in &path {
            if let Some(node) = &mut self.nodes[*id] {
                node.used = self.clock;
            }
        }
        let nodes = path.iter().filter_map(|id| self.nodes[*id].as_ref());
        cache.join(nodes.map(|node| &node.page), len).scaled(variant & SCALED != 0)
    }

    /// How many tokens [`PrefixTree::start`] would spare.
    pub(crate) fn len_of(&self, variant: u64, tokens: &[u32]) -> usize {
        self.walk(variant, tokens).1
    }

    /// The nodes along `tokens`, and how many tokens they agree on.
    fn walk(&self, variant: u64, tokens: &[u32]) -> (Vec<usize>, usize) {
        let (mut path, mut len) = (Vec::new(), 0);
        let mut level = &self.roots;
        while let Some((id, node, n)) = level
            .iter()
            .filter_map(|id| Some((*id, self.nodes[*id].as_ref()?)))
            .filter(|(_, node)| node.variant == variant)
            .map(|(id, node)| (id, node, common(&node.tokens, &tokens[len..])))
            .max_by_key(|(_, _, n)| *n)
            .filter(|(_, _, n)| *n > 0)
        {
            path.push(id);
            len += n;
            if n < PAGE {
                break;
            }
            level = &node.children;
        }
        (path, len)
    }

    /// Remembers the first `tokens.len()` tokens of a sequence, which are `tokens`.
    pub(crate) fn insert(
        &mut self,
        cache: &mut KvCache,
        variant: u64,
        sequence: &Sequence,
        tokens: &[u32],
    ) {
        debug_assert!(tokens.len() <= sequence.len());
        self.clock += 1;
        let mut parent = None;
        for (index, chunk) in tokens.chunks(PAGE).enumerate() {
            let level = self.level(parent);
            let known = level.iter().copied().find(|id| {
                self.nodes[*id].as_ref().is_some_and(|node| {
                    let n = node.tokens.len().min(chunk.len());
                    node.variant == variant && node.tokens[..n] == chunk[..n]
                })
            });
            let id = match known {
                Some(id) => {
                    self.lengthen(cache, id, sequence, index, chunk);
                    id
                }
                None => self.add(cache, variant, parent, sequence, index, chunk),
            };
            parent = Some(id);
        }
    }

    fn level(&self, parent: Option<usize>) -> &[usize] {
        match parent.and_then(|id| self.nodes[id].as_ref()) {
            Some(node) => &node.children,
            None => &self.roots,
        }
    }

    /// A page with more of the same text takes the place of one with less of it.
    fn lengthen(
        &mut self,
        cache: &mut KvCache,
        id: usize,
        sequence: &Sequence,
        index: usize,
        chunk: &[u32],
    ) {
        let Some(node) = &mut self.nodes[id] else { return };
        node.used = self.clock;
        if node.tokens.len() < chunk.len() {
            node.tokens = chunk.into();
            let old = std::mem::replace(&mut node.page, cache.hold(sequence, index));
            cache.let_go(old);
        }
    }

    fn add(
        &mut self,
        cache: &mut KvCache,
        variant: u64,
        parent: Option<usize>,
        sequence: &Sequence,
        index: usize,
        chunk: &[u32],
    ) -> usize {
        let node = Node {
            variant,
            tokens: chunk.into(),
            page: cache.hold(sequence, index),
            parent,
            children: Vec::new(),
            used: self.clock,
        };
        self.plant(node)
    }

    fn plant(&mut self, node: Node) -> usize {
        let parent = node.parent;
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            self.nodes.len() - 1
        });
        self.nodes[id] = Some(node);
        match parent.and_then(|parent| self.nodes[parent].as_mut()) {
            Some(parent) => parent.children.push(id),
            None => self.roots.push(id),
        }
        id
    }

    /// Forgets the leaf that has gone longest without use, of those whose page nobody else needs
    /// if there are any. Says whether there was one.
    pub(crate) fn forget_one(&mut self, cache: &mut KvCache) -> bool {
        let oldest = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(id, node)| Some((id, node.as_ref()?)))
            .filter(|(_, node)| node.children.is_empty())
            .min_by_key(|(_, node)| (cache.is_shared(&node.page), node.used))
            .map(|(id, _)| id);
        let Some(id) = oldest else { return false };
        let Some(node) = self.nodes[id].take() else { return false };
        self.vacant.push(id);
        match node.parent.and_then(|parent| self.nodes[parent].as_mut()) {
            Some(parent) => parent.children.retain(|child| *child != id),
            None => self.roots.retain(|root| *root != id),
        }
        cache.let_go(node.page);
        true
    }

    /// Texts read without an adapter, most lately used first and each page after the one it follows: the place, in this
    /// list, of the page before it, whether its text's positions are stretched, its tokens and the page.
    pub(super) fn list(&self) -> Vec<(Option<usize>, bool, &[u32], &HeldPage)> {
        let plain = |id: &usize| {
            self.nodes[*id].as_ref().is_some_and(|node| matches!(node.variant, 0 | SCALED))
        };
        let mut level: Vec<usize> = self.roots.iter().copied().filter(plain).collect();
        // A page was used whenever one after it was: sorted by use, and by depth within that.
        let mut order: Vec<usize> = Vec::new();
        while !level.is_empty() {
            order.extend(&level);
            let children = level.iter().filter_map(|id| self.nodes[*id].as_ref());
            level = children.flat_map(|node| node.children.iter().copied()).collect();
        }
        let used = |id: &usize| self.nodes[*id].as_ref().map_or(0, |node| node.used);
        order.sort_by_key(|id| std::cmp::Reverse(used(id)));
        let mut places = std::collections::HashMap::new();
        order
            .iter()
            .enumerate()
            .filter_map(|(place, id)| {
                places.insert(*id, place);
                let node = self.nodes[*id].as_ref()?;
                let parent = node.parent.and_then(|parent| places.get(&parent).copied());
                Some((parent, node.variant == SCALED, &*node.tokens, &node.page))
            })
            .collect()
    }

    /// Adds a page after the node `parent`, or as a text's first, and says which node it is; `used`
    /// says when it was of use, compared with others put back.
    pub(super) fn put_back(
        &mut self,
        parent: Option<usize>,
        scaled: bool,
        tokens: Box<[u32]>,
        page: HeldPage,
        used: u64,
    ) -> usize {
        self.clock = self.clock.max(used);
        let variant = variant_of(scaled);
        self.plant(Node { variant, tokens, page, parent, children: Vec::new(), used })
    }

    /// Pages that would come free if everything were forgotten.
    pub(crate) fn idle_pages(&self, cache: &KvCache) -> usize {
        self.nodes.iter().flatten().filter(|node| !cache.is_shared(&node.page)).count()
    }
}
