import axe from 'axe-core'
import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { answerWith, ask, open } from './page'

/** Violations that axe calls serious or worse, in a form that says where they are. */
async function violations(page: Page): Promise<string[]> {
  await page.waitForTimeout(300)
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate(() => (window as unknown as { axe: typeof axe }).axe.run())
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} (${failureSummary})`).join(' | ')}`)
}

const RICH = `# Heading

Text with $x$, [a link](https://example.com) and \`code\`.

$$\\sum_k k$$

\`\`\`python
def f(x: int) -> str:  # comment
    return "text" + str(1)
\`\`\`

| a | b |
|---|--:|
| 1 | 2 |

> quote`

const rich = (page: Page) =>
  answerWith(page, [
    { choices: [{ index: 0, delta: { reasoning_content: 'Hm, $y$.' } }] },
    {
      choices: [
        {
          index: 0,
          delta: { content: RICH },
          logprobs: { content: [-0.01, -0.2, -0.5, -1, -3].map((logprob) => ({ token: ' word', logprob, top_logprobs: [{ token: 'x', logprob: -1 }] })) },
          finish_reason: 'length',
        },
      ],
    },
    { choices: [], usage: { prompt_tokens: 1, completion_tokens: 10 } },
    '[DONE]',
  ])

/** Every kind of thought, in every colour. */
const reasoned = (page: Page) => {
  const numbers = Array.from({ length: 10 }, (_, number) => number)
  const ends = ['ended', 'budget', 'settled', 'loop', 'deadline', 'length', 'ended', 'ended', 'weak', 'unwanted']
  const thoughts = numbers.map((number) => ({
    ...{ number, reasoning: 'Hm, $y$.', content: RICH, answer: number < 8 ? `${number}` : null, end: ends[number] },
    ...{ tokens: { thinking: 5, answer: 9 }, steps: [{ at: 5, measure: 'loop', note: 'three times over' }], seconds: 1 },
  }))
  const vote = numbers.slice(0, 8).map((number) => ({ answer: `${number}`, weight: 1, thoughts: [number] }))
  const delta = (delta: object, finish_reason: string | null = null) => ({ choices: [{ index: 0, delta, finish_reason }] })
  return answerWith(page, [
    ...numbers.map((thought) => delta({ reasoning_details: { event: { begun: { thought, about: '' } } } })),
    delta({ reasoning_details: { event: { note: 'more thoughts' } } }),
    delta({ content: RICH }),
    delta({ reasoning_details: { receipt: { strategy: 'vote', chosen: 0, why: 'w', confidence: 0.1, usage: { seconds: 1 }, vote, thoughts } } }, 'stop'),
    '[DONE]',
  ])
}

describe.each(['light', 'dark'] as const)('axe finds nothing serious, %s', (colorScheme) => {
  it('on the empty page', async () => {
    expect(await violations(await open({ colorScheme }))).toEqual([])
  })

  it('in a conversation', async () => {
    const page = await open({ colorScheme, before: rich })
    await ask(page, 'One?')
    await page.locator('.fold').first().click()
    expect(await violations(page)).toEqual([])
    await page.getByRole('button', { name: 'Show probabilities' }).first().click()
    await page.locator('.token-text .token').first().focus()
    expect(await violations(page)).toEqual([])
  })

  it('among thoughts', async () => {
    const page = await open({ colorScheme, before: reasoned, settings: { way: 'vote' } })
    await ask(page, 'One?')
    expect(await violations(page)).toEqual([])
    await page.locator('.run-head > .fold').click()
    await page.locator('.figures summary').click()
    expect(await violations(page)).toEqual([])
  })

  it('in the dialogs', async () => {
    const page = await open({ colorScheme })
    for (const name of ['Settings', 'Keyboard shortcuts']) {
      await page.getByRole('button', { name }).click()
      expect(await violations(page), name).toEqual([])
      await page.keyboard.press('Escape')
    }
  })

  it('on a phone, with an error and the drawer', async () => {
    const page = await open({ colorScheme, viewport: { width: 360, height: 700 }, hasTouch: true, isMobile: true })
    await page.route('**/v1/**', (route) => route.abort())
    await page.fill('#message', 'One?')
    await page.press('#message', 'Enter')
    await page.locator('.banner').waitFor()
    expect(await violations(page)).toEqual([])
    await page.getByRole('button', { name: 'Show conversations' }).click()
    expect(await violations(page)).toEqual([])
  })
})
