import { beforeAll, describe, expect, it } from 'vitest'
import { GrowingMarkdown } from '../src/markdown/lex'
import { loadExtras, renderBlock } from '../src/markdown/render'

const labels = { copy: 'Copy', code: 'Code', table: 'Table' }

function render(text: string): HTMLElement {
  const box = document.createElement('div')
  for (const block of new GrowingMarkdown().update(text)) box.append(renderBlock(block, labels))
  return box
}

beforeAll(loadExtras)

describe('GrowingMarkdown', () => {
  const text = [
    '# Title\n\nA paragraph with $x_1$ and `code`.\n\n- one\n- two\n\n  more of two\n- three\n\n',
    '```js\nlet a = 1\n\nlet b = 2\n```\n\n| a | b |\n|---|---|\n| 1 | $|x|$ |\n\n> quote\nlazy\n\nSetext\n===\n\n',
    '$$\na\n\nb\n$$\n\n1. x\n2. y\n\nEnd with **bold\nand more** text.\n\n---\n\nLast.',
  ].join('')
  const raws = (blocks: { raw: string }[]) => blocks.map((block) => block.raw.trim())

  it('is the same in pieces as at once', () => {
    const whole = raws(new GrowingMarkdown().update(text))
    for (const size of [1, 2, 3, 7, 50]) {
      const growing = new GrowingMarkdown()
      for (let end = size; end < text.length; end += size) growing.update(text.slice(0, end))
      expect(raws(growing.update(text))).toEqual(whole)
    }
  })

  it('begins anew with another text', () => {
    const growing = new GrowingMarkdown()
    growing.update(text)
    expect(raws(growing.update('other'))).toEqual(['other'])
  })
})

describe('renderBlock', () => {
  it('draws formulas', () => {
    const box = render('so $a_b$ and $$\\sum_k k$$')
    expect(box.querySelectorAll('.katex')).toHaveLength(2)
    expect(box.querySelectorAll('.katex-display')).toHaveLength(1)
    expect(box.querySelector('em')).toBeNull()
  })

  it('keeps bars of formulas within a cell', () => {
    expect(render('| a | b |\n|---|---|\n| $|x|$ | 2 |').querySelectorAll('tbody td')).toHaveLength(2)
  })

  it('keeps the alignment of columns and the number a list starts with', () => {
    expect(render('| a |\n|--:|\n| 1 |').querySelector('td')?.getAttribute('align')).toBe('right')
    expect(render('3. x').querySelector('ol')?.getAttribute('start')).toBe('3')
  })

  it('leaves dollars in code', () => {
    const box = render('`$x$`\n\n```sh\necho $HOME $PATH\n```')
    expect(box.querySelectorAll('.katex')).toHaveLength(0)
    expect(box.textContent).toContain('echo $HOME $PATH')
    expect(box.querySelector('pre .hljs-variable')).not.toBeNull()
  })

  it('survives broken formulas', () => {
    expect(render('$\\frac{$').textContent).toContain('frac')
    expect(render('$\\undefinedmacro{x}$').querySelector('.katex-error, .katex')).not.toBeNull()
  })

  it('shows HTML as text', () => {
    const box = render('<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\na <b onclick="x()">b</b> H<sub>2</sub>O')
    expect(box.querySelector('script, img, [onerror], [onclick]')).toBeNull()
    expect(box.textContent).toContain('<script>alert(1)</script>')
    expect(box.querySelector('sub')?.textContent).toBe('2')
  })

  it.each([
    '[x](javascript:alert(1))',
    '[x](JaVaScRiPt:alert(1))',
    '[x](data:text/html,<script>alert(1)</script>)',
    '[x](vbscript:x)',
    '<javascript:alert(1)>',
    '$\\href{javascript:alert(1)}{x}$',
    '$\\htmlData{x=1}{y}$',
    '$\\includegraphics{http://example.com/x.png}$',
    '[x](http://a/ "$\\"onmouseover=alert(1) \\"$")',
    '![x](http://example.com/a.png)',
    '<svg onload=alert(1)>',
    '<math><mtext><table><mglyph><style><img src onerror=alert(1)>',
    '```"><img src=x onerror=alert(1)>\nx\n```',
  ])('does no harm: %s', (text) => {
    const box = render(text)
    for (const element of box.querySelectorAll('*')) {
      expect(['script', 'img', 'iframe', 'object', 'embed', 'form', 'style']).not.toContain(element.localName)
      for (const { name, value } of element.attributes) {
        expect(name).not.toMatch(/^on/i)
        if (/href|src/.test(name)) expect(value).toMatch(/^(?:https?|mailto):/i)
      }
    }
  })

  it('opens links elsewhere', () => {
    const link = render('[x](https://example.com/a_b?c=$d$)').querySelector('a')!
    expect(link.getAttribute('href')).toBe('https://example.com/a_b?c=$d$')
    expect(link.target).toBe('_blank')
    expect(link.rel).toContain('noopener')
  })
})
