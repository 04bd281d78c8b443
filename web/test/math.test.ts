import { describe, expect, it } from 'vitest'
import { GrowingProtection, protect, restore, split, unprotect } from '../src/markdown/math'

/** Formulas in `<…>` (`<<…>>` for display), the rest as it is. */
const marked = (text: string): string =>
  split(text)
    .map((piece) => (typeof piece === 'string' ? piece : piece.display ? `<<${piece.tex}>>` : `<${piece.tex}>`))
    .join('')

describe('split', () => {
  it.each([
    ['one $x$ two $y_1$', 'one <x> two <y_1>'],
    ['$$\\sum_k k$$', '<<\\sum_k k>>'],
    ['\\(a\\) and \\[b\\]', '<a> and <<b>>'],
    ['over\n$$\na\n\nb\n$$\nlines', 'over\n<<\na\n\nb\n>>\nlines'],
    ['a $x\ny$ b', 'a <x\ny> b'],
    ['\\frac in $\\frac{1}{2}$', '\\frac in <\\frac{1}{2}>'],
    ['$\\$5$', '<\\$5>'],
    ['$\\text{a \\(b\\)}$', '<\\text{a \\(b\\)}>'],
    ['**$x$**', '**<x>**'],
    ['so **\\boxed{\\frac{1}{2}}** and $\\boxed{3}$.', 'so **<\\boxed{\\frac{1}{2}}>** and <\\boxed{3}>.'],
  ])('finds formulas: %j', (text, expected) => expect(marked(text)).toBe(expected))

  it.each([
    'It costs $5 and then $10.',
    'From $5 to 6$7',
    'escaped \\$x$',
    '`$x$` and ``a ` $y$ b``',
    '```\n$x$\n```',
    '~~~tex\n$$x$$\n~~~',
    '- item\n  ```sh\n  echo $HOME $PATH\n  ```',
    '```\nnot closed $x$',
    '$x without end',
    '$a\n\nb$',
    '$$ without end',
    '\\( without end',
    '$ x $',
    '$$$$',
    'a\\\\(b\\\\)',
    '$HOME/`x`/$PATH',
    '`\\boxed{1}` and \\boxed{open\n}',
    '\\\\boxed{1}',
  ])('leaves alone: %j', (text) => expect(marked(text)).toBe(text))

  it('goes on after code', () => {
    expect(marked('```\n$x$\n```\nthen $y$ and `$z$`')).toBe('```\n$x$\n```\nthen <y> and `$z$`')
    expect(marked('a lone ` tick and $x$')).toBe('a lone ` tick and <x>')
    expect(marked('```js``` is inline, $x$')).toBe('```js``` is inline, <x>')
  })

  it('loses nothing', () => {
    const texts = ['$x$', 'a $$b$$ c', '`$`$', '\\[x', '$$x$ y$$', '\\(a\\]b\\)', '\\boxed{1} \\boxed{', '$1$2$3$', '\\', '$', '`', '\n$\n']
    for (const text of texts) expect(restore(protect(text))).toBe(text)
  })
})

describe('GrowingProtection', () => {
  const texts = [
    'a $x$\n\nb $$y\n\nz$$ c\n\n`$q$`\n\n```\n$x$\n\n$y$\n```\n\nend $e$\n\n',
    '$$ never closed\n\nthen $x$\n\nand $y$\n\nuntil here $$ $z$\n\n$w$\n\n',
    '\\[ open\n\n$a$\n\n\\]\n\n$b$\n\n\uE000 and $c$\n\n$d$\n\nline\\\n```\n$e$\n```\n\n$f$',
    '\n\n\n  \n\t\n$x$\n\n',
    'so \\boxed{\\text{a}}\n\n\\boxed{b\n\n} \\boxed{c}',
  ]
  it('is the same in pieces as at once', () => {
    for (const text of texts) {
      for (const size of [1, 2, 5, 11]) {
        const growing = new GrowingProtection()
        for (let end = 0; end < text.length; end += size) {
          expect(growing.update(text.slice(0, end))).toBe(protect(text.slice(0, end)))
        }
        expect(growing.update(text)).toBe(protect(text))
      }
    }
  })
})

describe('protect', () => {
  it('hides what Markdown would read as its own', () => {
    expect(protect('$a_b * c|d \\\\ e_f$')).not.toMatch(/[_*|\\$]/)
  })

  it('takes marks out that a model writes itself', () => {
    expect(unprotect(protect('\uE0000\uE001'))).toEqual(['0'])
  })
})
