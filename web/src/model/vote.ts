import type { Cluster } from '../api/types'

/** The vote as pages took it themselves; see `legacy`. */

/** What an answer comes to: its last `\boxed{…}`, or else its last line. */
export function finalAnswer(content: string): string {
  return lastBoxed(content) ?? lastLine(content)
}

function lastBoxed(text: string): string | null {
  for (let at = text.lastIndexOf('\\boxed'); at >= 0; at = at === 0 ? -1 : text.lastIndexOf('\\boxed', at - 1)) {
    const open = /^\\boxed\s*\{/.exec(text.slice(at, at + 32))
    if (!open) continue
    const start = at + open[0].length
    let depth = 1
    for (let end = start; end < text.length; end++) {
      const char = text[end]
      if (char === '\\') end++
      else if (char === '{') depth++
      else if (char === '}' && --depth === 0) return text.slice(start, end).trim()
    }
  }
  return null
}

function lastLine(text: string): string {
  const lines = text.split('\n').map((line) => line.trim())
  return lines.findLast((line) => line !== '' && !/^(?:`{3,}|~{3,}|[-*_=]{3,}$)/.test(line)) ?? ''
}

/** Answers that differ only in how they are written count as one. */
export function normalize(answer: string): string {
  return answer
    .normalize('NFKC')
    .replace(/\\text(?:bf|rm|it)?\s*\{([^{}]*)\}/g, '$1')
    .replace(/\\left|\\right|\\[,;:! ]/g, '')
    .replace(/\\d?frac/g, '\\frac')
    .replace(/\{,\}/g, ',')
    .replace(/[*_`$]|\\[()[\]]/g, '')
    .replace(/(\d),(?=\d{3}\b)/g, '$1')
    .replace(/\s+/g, '')
    .replace(/[.。।!]+$/, '')
    .toLowerCase()
}

/** Texts that end in the same answer, most frequent first; of equally frequent ones, the one that came first. */
export function clusters(contents: string[]): Cluster[] {
  const groups = new Map<string, Cluster>()
  contents.forEach((content, index) => {
    const answer = finalAnswer(content)
    const same = normalize(answer)
    if (!same) return
    const group = groups.get(same) ?? { answer, weight: 0, thoughts: [] }
    group.weight++
    group.thoughts.push(index)
    groups.set(same, group)
  })
  return [...groups.values()].sort((a, b) => b.weight - a.weight)
}
