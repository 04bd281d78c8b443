import { Marked, type Token, type TokensList } from 'marked'
import { GrowingProtection } from './math'

/** Tags without attributes that models write and that can do no harm; other HTML is shown as text. */
const PLAIN_TAG = /^<(?:br\s*\/?|\/?(?:sub|sup|kbd|mark|u|b|i|em|strong|s))>$/i

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)

export const marked = new Marked({
  gfm: true,
  breaks: false,
  renderer: {
    html({ text }) {
      return PLAIN_TAG.test(text.trim()) ? text : escape(text)
    },
    image({ href, text }) {
      // Nothing is loaded from elsewhere: a picture becomes a link to it.
      return `<a href="${escape(href)}">${escape(text || href)}</a>`
    },
    checkbox({ checked }) {
      return checked ? '☑ ' : '☐ '
    },
  },
})

/** A top-level piece of Markdown; `raw` tells it from others. */
export type Block = Token

/** How many of the last tokens more text may still change. */
const UNSETTLED = 3

/**
 * Markdown that grows at its end: each update lexes only what may have changed.
 */
export class GrowingMarkdown {
  private protection = new GrowingProtection()
  private settled = ''
  private blocks: Block[] = []

  update(source: string): Block[] {
    const text = this.protection.update(source).replace(/\r\n?/g, '\n')
    if (!text.startsWith(this.settled)) {
      this.settled = ''
      this.blocks = []
    }
    const fresh: TokensList = marked.lexer(text.slice(this.settled.length))
    const all = [...this.blocks, ...fresh]
    const keep = all.length - UNSETTLED
    if (keep > this.blocks.length) {
      const more = all.slice(this.blocks.length, keep)
      const raw = more.map((block) => block.raw).join('')
      // Only where the lexer gives back the text as it was do lengths mean anything.
      if (text.startsWith(raw, this.settled.length)) {
        this.settled += raw
        this.blocks = all.slice(0, keep)
      }
    }
    return all.filter((block) => block.type !== 'space' && block.type !== 'def')
  }
}
