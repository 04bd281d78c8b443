import type { Answer, Vote } from './types'

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

/** The most frequent final answer; of equally frequent ones, the one that came first. */
export function majority(answers: Answer[]): Vote | null {
  const groups = new Map<string, Vote>()
  let total = 0
  answers.forEach((answer, index) => {
    if (answer.finish === null) return
    const final = finalAnswer(answer.content)
    const same = normalize(final)
    if (!same) return
    total++
    const group = groups.get(same)
    if (group) group.members.push(index)
    else groups.set(same, { answer: final, members: [index], total: 0 })
  })
  let best: Vote | null = null
  for (const group of groups.values()) {
    if (!best || group.members.length > best.members.length) best = group
  }
  return best && { ...best, total }
}
