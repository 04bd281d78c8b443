import type { Figures as Account } from '../model/run'
import { useT } from '../store/app'

/** A receipt's numbers. */
export function Figures({ receipt }: { receipt: Account }) {
  const t = useT()
  const { usage } = receipt
  const number = (value: number | undefined, digits = 0): string => (value === undefined ? '' : t.number(value, digits))
  const rows: [string, string][] = [
    [t('figWhy'), receipt.why],
    [t('figConfidence'), receipt.confidence === null ? '' : t.percent(receipt.confidence)],
    [t('figPrompt'), number(usage.prompt_tokens)],
    [t('figThinking'), number(usage.reasoning_tokens)],
    [t('figAnswer'), number(usage.answer_tokens)],
    [t('figDiscarded'), number(usage.discarded_tokens)],
    [t('figDrawn'), number(usage.drawn_tokens)],
    [t('figThoughts'), number(usage.thoughts)],
    [t('figPasses'), number(usage.forward_passes)],
    [t('figFlops'), number(usage.flops === undefined ? undefined : usage.flops / 1e12, 2)],
    [t('figSeconds'), number(usage.seconds, 1)],
  ]
  return (
    <details class="figures">
      <summary>{t('figures')}</summary>
      <table>
        <tbody>
          {rows
            .filter(([, value]) => value !== '')
            .map(([name, value]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{value}</td>
              </tr>
            ))}
        </tbody>
      </table>
    </details>
  )
}
