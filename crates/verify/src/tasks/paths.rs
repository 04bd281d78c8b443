//! The shortest way through a graph.

use super::Draft;
use super::random::Random;

pub(super) fn shortest(random: &mut Random, difficulty: u32) -> Draft {
    let count = 4 + difficulty as usize;
    let longest = 9 + 2 * i64::from(difficulty);
    let name = |i: usize| char::from(b'A' + i as u8);
    let mut edges: Vec<(usize, usize, i64)> = Vec::new();
    // A tree first, so that every place can be reached; then as many roads again.
    for i in 1..count {
        let to = random.below(i as u64) as usize;
        edges.push((to, i, random.range(1, longest)));
    }
    for _ in 0..count * 10 {
        if edges.len() >= count * 2 - 2 {
            break;
        }
        let (a, b) = (random.below(count as u64) as usize, random.below(count as u64) as usize);
        let (a, b) = (a.min(b), a.max(b));
        if a != b && !edges.iter().any(|&(c, d, _)| (c, d) == (a, b)) {
            edges.push((a, b, random.range(1, longest)));
        }
    }
    random.shuffle(&mut edges);
    let roads: Vec<String> =
        edges.iter().map(|&(a, b, length)| format!("{}-{}: {length}", name(a), name(b))).collect();
    let target = count - 1;
    let question = format!(
        "Roads join these places, and can be taken both ways; each is given with its length.\n{}\n\
         How long is the shortest way from A to {}? Answer with a whole number.",
        roads.join("\n"),
        name(target)
    );
    Draft::number(question, distance(&edges, count, target))
}

/// Bellman and Ford's way: as often as there are places, every road may shorten what is known.
fn distance(edges: &[(usize, usize, i64)], count: usize, target: usize) -> i64 {
    let mut known = vec![i64::MAX / 2; count];
    known[0] = 0;
    for _ in 0..count {
        for &(a, b, length) in edges {
            known[b] = known[b].min(known[a] + length);
            known[a] = known[a].min(known[b] + length);
        }
    }
    known[target]
}

#[cfg(test)]
mod tests {
    use crate::tasks::{Kind, generate};

    /// Every simple way, by depth-first search over the roads as the question gives them.
    #[test]
    fn no_way_is_shorter() {
        fn search(roads: &[(char, char, i64)], at: char, seen: &str, far: i64, to: char) -> i64 {
            if at == to {
                return far;
            }
            roads
                .iter()
                .filter_map(|&(a, b, length)| {
                    let next = if a == at {
                        b
                    } else if b == at {
                        a
                    } else {
                        return None;
                    };
                    let seen = format!("{seen}{at}");
                    (!seen.contains(next)).then(|| search(roads, next, &seen, far + length, to))
                })
                .min()
                .unwrap_or(i64::MAX)
        }
        for seed in 0..60 {
            let task = generate(Kind::Paths, seed, seed as u32 % 6 + 1);
            let roads: Vec<(char, char, i64)> = task
                .question
                .lines()
                .filter_map(|line| {
                    let (ends, length) = line.split_once(": ")?;
                    let mut ends = ends.chars();
                    Some((ends.next()?, ends.nth(1)?, length.parse().ok()?))
                })
                .collect();
            let to = task.question.split_once("from A to ").unwrap().1.chars().next().unwrap();
            assert_eq!(search(&roads, 'A', "", 0, to).to_string(), task.gold, "{}", task.question);
        }
    }
}
