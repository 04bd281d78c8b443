/** Texts of thoughts. */

const OPEN = '<think>'
const CLOSE = '</think>'

/** A text's thinking, between its tags, and what it says. The first tag may stand in the prompt. */
export function split(text: string): { reasoning: string; content: string } {
  const start = text.trimStart()
  if (OPEN.startsWith(start)) return { reasoning: '', content: '' } // a tag under way
  const inside = start.startsWith(OPEN) ? start.slice(OPEN.length) : start
  const end = inside.indexOf(CLOSE)
  if (end >= 0) return { reasoning: inside.slice(0, end).trim(), content: inside.slice(end + CLOSE.length).trim() }
  return inside === start ? { reasoning: '', content: start.trimEnd() } : { reasoning: inside.trim(), content: '' }
}

/** The text with at most so many characters: its beginning and, above all, its end. */
export function within(text: string, most: number): string {
  if (text.length <= most) return text
  const gap = '\n\n…\n\n'
  const head = Math.floor(most / 4)
  return whole(text.slice(0, head)) + gap + whole(text.slice(text.length - (most - head - gap.length)))
}

/** Without the halves of characters that a cut may leave. */
const whole = (text: string): string => text.replace(/^[\uDC00-\uDFFF]|[\uD800-\uDBFF]$/g, '')
