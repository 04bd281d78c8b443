/**
 * Takes LaTeX out of Markdown before Markdown sees it, so that `_`, `*`, `|` and `\\` in formulas
 * stay what they are. A formula becomes one word of private-use characters and hex digits that
 * carries its own source: nothing has to be remembered beside the text.
 */

const OPEN = '\uE000'
const CLOSE = '\uE001'
const MARK = /\uE000([0-4])([0-9a-f]*)\uE001/g

const DELIMITERS = [
  { open: '$$', close: '$$', display: true },
  { open: '\\[', close: '\\]', display: true },
  { open: '\\(', close: '\\)', display: false },
  { open: '$', close: '$', display: false },
  { open: '', close: '', display: false }, // a box that stands outside a formula, and is one itself
] as const

export interface Formula {
  tex: string
  display: boolean
  /** As it stood in the text, with its delimiters. */
  source: string
}

export type Piece = string | Formula

/** Text with every formula outside code replaced by its mark. */
export const protect = (text: string): string => joined(split(text))

const joined = (pieces: Piece[]): string =>
  pieces.map((piece) => (typeof piece === 'string' ? piece : mark(piece))).join('')

/** `protect` for text that grows at its end: reads again only what more text may change. */
export class GrowingProtection {
  private source = ''
  private settled = ''

  update(source: string): string {
    if (!source.startsWith(this.source)) {
      this.source = ''
      this.settled = ''
    }
    const tail = source.slice(this.source.length)
    const clean = tail.replace(MARKS, '')
    const { pieces, settled } = scan(clean)
    if (settled === 0 || clean !== tail) return this.settled + joined(pieces)

    const before: Piece[] = []
    let length = 0
    while (length < settled) {
      const piece = pieces.shift()!
      const size = typeof piece === 'string' ? piece.length : piece.source.length
      if (typeof piece === 'string' && length + size > settled) {
        // The boundary lies within text, never within a formula.
        before.push(piece.slice(0, settled - length))
        pieces.unshift(piece.slice(settled - length))
        break
      }
      before.push(piece)
      length += size
    }
    this.source += tail.slice(0, settled)
    this.settled += joined(before)
    return this.settled + joined(pieces)
  }
}

/** Text that may hold marks, cut into text and formulas. */
export function unprotect(text: string): Piece[] {
  const pieces: Piece[] = []
  let from = 0
  for (const match of text.matchAll(MARK)) {
    if (match.index > from) pieces.push(text.slice(from, match.index))
    const { open, close, display } = DELIMITERS[Number(match[1]) as 0 | 1 | 2 | 3 | 4]
    const tex = fromHex(match[2]!)
    pieces.push({ tex, display, source: open + tex + close })
    from = match.index + match[0].length
  }
  if (from < text.length) pieces.push(text.slice(from))
  return pieces
}

/** Text that may hold marks, as it was before `protect`. */
export const restore = (text: string): string =>
  unprotect(text)
    .map((piece) => (typeof piece === 'string' ? piece : piece.source))
    .join('')

function mark({ tex, source }: Formula): string {
  const kind = DELIMITERS.findIndex(({ open }) => source.startsWith(open))
  return `${OPEN}${kind}${toHex(tex)}${CLOSE}`
}

const toHex = (text: string): string =>
  Array.from({ length: text.length }, (_, at) => text.charCodeAt(at).toString(16).padStart(4, '0')).join('')

const fromHex = (hex: string): string =>
  (hex.match(/.{4}/g) ?? []).map((unit) => String.fromCharCode(parseInt(unit, 16))).join('')

/** What only `protect` may write. */
const MARKS = /[\uE000\uE001]/g

const FENCE = /^[ \t]*(?:(?:>|[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})/
const BLANK_LINE = /^[ \t]*\n/
const INTERESTING = /[`\\$]/g

/** Markdown cut into text (code included) and formulas. */
export const split = (source: string): Piece[] => scan(source.replace(MARKS, '')).pieces

/** The pieces, and where the last paragraph begins before which all is decided. */
function scan(text: string): { pieces: Piece[]; settled: number } {
  const pieces: Piece[] = []
  let from = 0
  let at = 0
  let lineStart = true
  let settled = 0
  let open = false // a delimiter that what comes may still close
  while (at < text.length) {
    if (lineStart) {
      const blank = BLANK_LINE.test(text.slice(at, at + 80))
      if (blank && !open) settled = text.indexOf('\n', at) + 1
      const end = fenceEnd(text, at)
      if (end > at) {
        at = end
        continue
      }
      lineStart = false
    }
    INTERESTING.lastIndex = at
    const hit = INTERESTING.exec(text)?.index ?? text.length
    const newline = text.indexOf('\n', at)
    if (newline >= 0 && newline < hit) {
      at = newline + 1
      lineStart = true
      continue
    }
    if (hit === text.length) break
    at = hit
    if (text[at] === '`') {
      at = codeEnd(text, at)
      continue
    }
    const formula = formulaAt(text, at)
    if (formula) {
      if (at > from) pieces.push(text.slice(from, at))
      pieces.push(formula)
      at += formula.source.length
      from = at
    } else if (text.startsWith('$$', at) || (text[at] === '\\' && text[at + 1] !== '\n')) {
      open ||= text[at] === '$' || text[at + 1] === '['
      at += 2 // an escaped character, or a delimiter that nothing closes
    } else {
      at += 1
    }
  }
  if (from < text.length) pieces.push(text.slice(from))
  return { pieces, settled }
}

/** Where the fenced code that starts at `at` ends; `at` if there is none. */
function fenceEnd(text: string, at: number): number {
  const newline = text.indexOf('\n', at)
  const line = text.slice(at, newline < 0 ? undefined : newline)
  const fence = FENCE.exec(line)?.[1]
  if (!fence) return at
  // Backticks later in the line make it inline code.
  if (fence[0] === '`' && line.slice(line.indexOf(fence) + fence.length).includes('`')) return at
  const close = new RegExp(`^[ \\t>]*${fence[0]}{${fence.length},}[ \\t]*$`)
  let start = newline
  while (start >= 0) {
    const end = text.indexOf('\n', start + 1)
    if (close.test(text.slice(start + 1, end < 0 ? undefined : end))) return end < 0 ? text.length : end + 1
    start = end
  }
  return text.length
}

/** Where the inline code that starts at `at` ends: after its backticks if nothing closes them. */
function codeEnd(text: string, at: number): number {
  const run = /`+/y
  run.lastIndex = at
  const ticks = run.exec(text)![0]
  const rest = /`+/g
  rest.lastIndex = at + ticks.length
  const paragraph = text.slice(at).search(/\n[ \t]*\n/)
  const limit = paragraph < 0 ? text.length : at + paragraph
  for (let match = rest.exec(text); match && match.index < limit; match = rest.exec(text)) {
    if (match[0].length === ticks.length) return match.index + ticks.length
  }
  return at + ticks.length
}

/** The `\boxed{…}` at `at`, on one line. */
function boxAt(text: string, at: number): Formula | null {
  const open = /\\boxed *\{/y
  open.lastIndex = at
  if (!open.test(text)) return null
  let depth = 1
  for (let end = open.lastIndex; end < text.length && text[end] !== '\n'; end++) {
    if (text[end] === '\\') end++
    else if (text[end] === '{') depth++
    else if (text[end] === '}' && --depth === 0) {
      const source = text.slice(at, end + 1)
      return { tex: source, display: false, source }
    }
  }
  return null
}

function formulaAt(text: string, at: number): Formula | null {
  const delimiters = DELIMITERS.find(({ open }) => open && text.startsWith(open, at))
  if (!delimiters) return boxAt(text, at)
  const { open, close, display } = delimiters
  const start = at + open.length
  const blank = display ? -1 : text.slice(start).search(/\n[ \t]*\n/)
  const limit = blank < 0 ? text.length : start + blank
  for (let end = start; end < limit; end++) {
    if (text.startsWith(close, end)) {
      const tex = text.slice(start, end)
      if (!tex.trim()) return null
      if (open === '$') {
        // As pandoc has it, so that prices stay prices.
        if (/^\s/.test(tex)) return null
        if (/\s$/.test(tex) || /\d/.test(text[end + 1] ?? '')) continue
        if (tex.includes('`')) return null
      }
      return { tex, display, source: text.slice(at, end + close.length) }
    }
    if (text[end] === '\\') end++
  }
  return null
}
