import { Markdown } from './Markdown'

/** The colours there are; answers after them share a neutral one. */
const COLOURS = 8

export const colourClass = (colour: number): string =>
  colour >= 0 ? `tinted c${colour < COLOURS ? colour : 'x'}` : ''

/** An answer in the colour of those that agree with it; its text tells them apart without colours. */
export function Badge({ answer, colour }: { answer: string; colour: number }) {
  return (
    <span class={`badge ${colourClass(colour)}`} title={answer.length > 40 ? answer.slice(0, 400) : undefined}>
      {answer.length > 120 ? answer.slice(0, 120) + '…' : <Markdown text={asMarkdown(answer)} />}
    </span>
  )
}

/** What stood in a `\boxed{}` is a formula without its delimiters. */
const asMarkdown = (answer: string): string =>
  /[\\^_{}]/.test(answer) && !/\$|\\[([]/.test(answer) ? `$${answer}$` : answer
