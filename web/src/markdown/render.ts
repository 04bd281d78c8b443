import DOMPurify from 'dompurify'
import { type Block, marked } from './lex'
import { restore, unprotect } from './math'

type Katex = typeof import('katex').default
type Highlighter = typeof import('./highlight').highlighter

/** KaTeX and the highlighter are large; the first page does without them. */
let katex: Katex | null = null
let highlighter: Highlighter | null = null
let loading: Promise<void> | null = null

export const extrasLoaded = (): boolean => katex !== null

export function loadExtras(): Promise<void> {
  loading ??= Promise.all([
    import('katex'),
    import('./highlight'),
    import('katex/dist/katex.min.css'),
  ]).then(([k, h]) => {
    katex = k.default
    highlighter = h.highlighter
  })
  return loading
}

const ALLOWED_TAGS = [
  ...['a', 'b', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'kbd', 'li'],
  ...['mark', 'ol', 'p', 'pre', 's', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'u', 'ul'],
]

const LANGUAGE = /^language-([\w+#.-]+)/
const MOST_HIGHLIGHTED = 50_000

export interface RenderLabels {
  copy: string
  code: string
  table: string
}

/**
 * A block of Markdown as elements. What a model writes is not trusted: HTML in it is shown as text,
 * what Markdown makes is sanitised, and only then formulas and colours come in.
 */
export function renderBlock(block: Block, labels: RenderLabels): DocumentFragment {
  const fragment = DOMPurify.sanitize(marked.parser([block]), {
    ALLOWED_TAGS,
    ALLOWED_ATTR: ['href', 'title', 'align', 'start', 'class'],
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    ADD_URI_SAFE_ATTR: ['align', 'start'], // no addresses, so not held against the expression
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  })
  for (const link of fragment.querySelectorAll('a')) {
    const href = link.getAttribute('href')
    // The marks are percent-encoded by now; what comes back stands behind the scheme that was checked.
    if (href) link.setAttribute('href', restore(href.replace(/%EE%80%8([01])/g, (_, end) => (end === '0' ? '\uE000' : '\uE001'))))
    link.target = '_blank'
    link.rel = 'noopener noreferrer nofollow'
  }
  for (const titled of fragment.querySelectorAll('[title]')) {
    titled.setAttribute('title', restore(titled.getAttribute('title')!))
  }
  for (const code of fragment.querySelectorAll('code')) {
    code.textContent = restore(code.textContent)
    const pre = code.parentElement
    if (pre?.localName === 'pre') frame(pre, code, labels)
    else code.removeAttribute('class')
  }
  for (const element of fragment.querySelectorAll('[class]')) {
    if (!element.closest('.code')) element.removeAttribute('class')
  }
  for (const table of fragment.querySelectorAll('table')) {
    const scroll = document.createElement('div')
    scroll.className = 'table'
    scroll.tabIndex = 0
    scroll.setAttribute('role', 'group')
    scroll.setAttribute('aria-label', labels.table)
    table.replaceWith(scroll)
    scroll.append(table)
  }
  formulas(fragment)
  return fragment
}

/** Code gets its language's name, a button to copy it, and colours. */
function frame(pre: Element, code: Element, labels: RenderLabels): void {
  const language = LANGUAGE.exec(code.className)?.[1] ?? ''
  code.className = ''
  const text = code.textContent
  if (highlighter && text.length <= MOST_HIGHLIGHTED && highlighter.getLanguage(language)) {
    // The highlighter escapes the code it colours.
    code.innerHTML = highlighter.highlight(text, { language, ignoreIllegals: true }).value
  }
  pre.setAttribute('tabindex', '0')
  pre.setAttribute('role', 'group')
  pre.setAttribute('aria-label', language ? `${labels.code}: ${language}` : labels.code)

  const box = document.createElement('div')
  box.className = 'code'
  const head = document.createElement('div')
  head.className = 'code-head'
  const name = document.createElement('span')
  name.textContent = language
  const copy = document.createElement('button')
  copy.type = 'button'
  copy.className = 'text-button'
  copy.dataset.copy = ''
  copy.textContent = labels.copy
  head.append(name, copy)
  pre.replaceWith(box)
  box.append(head, pre)
}

function formulas(root: DocumentFragment): void {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT)
  const texts: Text[] = []
  while (walker.nextNode()) {
    const text = walker.currentNode as Text
    if (text.data.includes('\uE000')) texts.push(text)
  }
  for (const text of texts) {
    text.replaceWith(
      ...unprotect(text.data).map((piece, at) => {
        // No line starts with the comma after a formula.
        if (typeof piece === 'string') return at > 0 && /^[,.;:!?)\]%]/.test(piece) ? `\u2060${piece}` : piece
        if (!katex) return piece.source
        const span = document.createElement('span')
        span.className = piece.display ? 'formula display' : 'formula'
        if (piece.display) span.tabIndex = 0
        try {
          katex.render(piece.tex, span, {
            displayMode: piece.display,
            throwOnError: false,
            trust: false,
            strict: 'ignore',
            maxExpand: 500,
            maxSize: 20,
          })
        } catch {
          span.textContent = piece.source
        }
        return span
      }),
    )
  }
}
