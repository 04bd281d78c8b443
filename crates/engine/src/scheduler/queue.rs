//! Who goes next.
//!
//! Higher priorities first; among equals, whoever has been served least (the virtual token counter
//! of Sheng et al. 2023, "Fairness in Serving Large Language Models"): a tenant with a thousand
//! requests in the queue and one with a single request get the same share. A tenant's own requests
//! keep their order. What was preempted goes before what has not begun.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::choice::Choice;

#[derive(Default)]
struct Tenant {
    /// Tokens read and generated for it, and the head start of those that came later.
    served: f64,
    waiting: VecDeque<Choice>,
    running: usize,
}

/// Choices that are not in the batch.
#[derive(Default)]
pub(super) struct Queue {
    tenants: HashMap<Arc<str>, Tenant>,
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a new choice at the end of its tenant's line.
    pub(super) fn push(&mut self, choice: Choice) {
        // Who was away has saved up nothing: it starts level with the least served of the others.
        let level = self
            .tenants
            .values()
            .filter(|t| t.running > 0 || !t.waiting.is_empty())
            .map(|t| t.served)
            .reduce(f64::min);
        let tenant = self.tenants.entry(Arc::clone(&choice.job.request.tenant)).or_default();
        if tenant.running == 0 && tenant.waiting.is_empty() {
            tenant.served = tenant.served.max(level.unwrap_or(0.0));
        }
        tenant.waiting.push_back(choice);
        self.len += 1;
    }

    /// Puts a choice that was in the batch back at the head of its tenant's line.
    pub(super) fn push_back(&mut self, choice: Choice) {
        let tenant = self.tenants.entry(Arc::clone(&choice.job.request.tenant)).or_default();
        tenant.running = tenant.running.saturating_sub(1);
        tenant.waiting.push_front(choice);
        self.len += 1;
    }

    /// The tenant whose turn it is, and its choice's place in the line.
    fn next(&self) -> Option<(&Arc<str>, usize)> {
        self.tenants
            .iter()
            .filter_map(|(name, tenant)| {
                // The first of the highest priority.
                let (at, choice) =
                    tenant.waiting.iter().enumerate().max_by_key(|(at, choice)| {
                        (choice.job.request.priority, usize::MAX - at)
                    })?;
                Some((name, at, choice.job.request.priority, tenant.served, choice.job.id))
            })
            .min_by(|a, b| b.2.cmp(&a.2).then(a.3.total_cmp(&b.3)).then(a.4.cmp(&b.4)))
            .map(|(name, at, ..)| (name, at))
    }

    /// The choice whose turn it is.
    pub(super) fn peek(&self) -> Option<&Choice> {
        let (name, at) = self.next()?;
        self.tenants.get(name)?.waiting.get(at)
    }

    /// Takes the choice whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Choice> {
        let (name, at) = self.next()?;
        let name = Arc::clone(name);
        let tenant = self.tenants.get_mut(&name)?;
        let choice = tenant.waiting.remove(at)?;
        tenant.running += 1;
        self.len -= 1;
        Some(choice)
    }

    /// Takes out all choices of which `over` is true.
    pub(super) fn remove(&mut self, mut over: impl FnMut(&Choice) -> bool) -> Vec<Choice> {
        let mut out = Vec::new();
        for tenant in self.tenants.values_mut() {
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut tenant.waiting).into_iter().partition(&mut over);
            tenant.waiting = kept;
            out.extend(gone);
        }
        self.len -= out.len();
        self.tidy();
        out
    }

    /// Counts tokens worked on for a tenant.
    pub(super) fn served(&mut self, tenant: &Arc<str>, tokens: usize) {
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.served += tokens as f64;
        }
    }

    /// Another choice of a tenant has joined the batch without having waited.
    pub(super) fn joined(&mut self, tenant: &Arc<str>) {
        self.tenants.entry(Arc::clone(tenant)).or_default().running += 1;
    }

    /// One of a tenant's choices has left the batch for good.
    pub(super) fn left(&mut self, tenant: &Arc<str>) {
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.running = tenant.running.saturating_sub(1);
        }
        self.tidy();
    }

    /// Tenants with nothing to do are forgotten once nobody is left to compare them with.
    fn tidy(&mut self) {
        if self.tenants.values().all(|t| t.running == 0 && t.waiting.is_empty()) {
            self.tenants.clear();
        }
    }
}
