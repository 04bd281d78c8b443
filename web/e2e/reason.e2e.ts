import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { answerWith, ask, last, nextBody, open, real, send } from './page'

const QUESTION = 'What is the sum of the first six odd numbers?'
const fold = (page: Page) => page.locator('.run-head > .fold')
const cards = (page: Page) => page.locator('.card')
const way = (page: Page) => page.locator('.composer').getByRole('combobox', { name: 'Way of answering' })

const event = (event: object) => ({ choices: [{ index: 0, delta: { reasoning_details: { event } } }] })

describe('a question answered with a strategy', () => {
  it('is asked as set, next to the field and among the settings', async () => {
    const page = await open()
    let body = await nextBody(page, () => ask(page, 'One?'))
    expect(body).not.toHaveProperty('reasoning')
    await way(page).selectOption({ label: 'Vote' })
    const count = page.getByRole('group', { name: 'How many thoughts, at most' })
    for (let i = 0; i < 5; i++) await count.getByRole('button', { name: 'Fewer' }).click()
    expect(await count.locator('output').innerText()).toBe('3')
    await page.getByRole('button', { name: 'Settings' }).click()
    const dialog = page.getByRole('dialog')
    expect(await dialog.getByLabel('Thoughts').inputValue()).toBe('3')
    await dialog.getByLabel('Deadline in seconds').fill('20')
    await dialog.getByLabel('Stop when settled').check()
    await page.keyboard.press('Escape')
    await page.reload()
    await page.waitForSelector('#message')
    body = await nextBody(page, () => send(page, 'Two?'))
    expect(body.reasoning).toEqual({ strategy: 'vote', n: 3, deadline_ms: 20_000, settle: true })
    expect(body).not.toHaveProperty('n')
    await last(page, 'done')
  })

  it('shows its thoughts and their vote, and folds them when they are over', async () => {
    const page = await open({ settings: { way: 'vote', thoughts: { vote: 4 } } })
    await send(page, QUESTION)
    await page.waitForSelector('.card.live')
    expect(await fold(page).getAttribute('aria-expanded')).toBe('true')
    expect(await fold(page).innerText()).toMatch(/\d of \d thoughts? over · \d+\.\d s/)
    await last(page, 'done')
    expect(await fold(page).getAttribute('aria-expanded')).toBe('false')
    expect(await fold(page).innerText()).toMatch(/\d thoughts?, \d answers?, [\d.]+ s, [\d,]+ tokens? \(\d+ discarded\)/)
    expect(await cards(page).count()).toBe(0)
    await fold(page).press('Enter')
    expect(await cards(page).count()).toBeGreaterThan(0)
    expect(await page.locator('.card.chosen .mark').innerText()).toBe('Chosen')
    await page.getByText('Figures').click()
    expect(await page.locator('.figures table').innerText()).toMatch(/Discarded tokens\s+\d/)
    if (real) return
    expect(await page.getByTestId('vote').innerText()).toMatch(/36\s*\d+%, \d votes?/)
  })

  it('keeps them: after a reload, in a file, and as a branch', async () => {
    const page = await open({ settings: { way: 'vote', thoughts: { vote: 3 } } })
    await ask(page, QUESTION)
    const summary = await fold(page).innerText()
    await page.reload()
    await page.waitForSelector('.turn.answer[data-status="done"]')
    expect(await fold(page).innerText()).toBe(summary)

    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export all' }).click()])
    const other = await open()
    await other.setInputFiles('.sidebar input[type=file]', { name: 'a.json', mimeType: 'application/json', buffer: readFileSync(await download.path()) })
    await other.locator('.conversation').click()
    expect(await fold(other).innerText()).toBe(summary)

    await way(page).selectOption({ label: 'Plain' })
    await page.getByRole('button', { name: 'Answer again' }).click()
    await page.locator('.branch-count', { hasText: '2/2' }).waitFor()
    await last(page, 'done')
    expect(await fold(page).count()).toBe(0)
    await page.getByRole('button', { name: 'Previous branch' }).click()
    expect(await fold(page).innerText()).toBe(summary)
  })

  it('goes on from another thought, if its reader likes', async () => {
    const page = await open({ settings: { way: 'vote' } })
    const thought = (number: number, answer: string) => ({ number, reasoning: '', content: `It is ${answer}.`, answer, end: 'ended', tokens: { answer: 4 }, steps: [], seconds: 1 })
    const vote = [{ answer: '36', weight: 2, thoughts: [0, 1] }, { answer: '35', weight: 1, thoughts: [2] }]
    await answerWith(page, [
      ...[0, 1, 2].map((number) => event({ begun: { thought: number, about: '' } })),
      { choices: [{ index: 0, delta: { content: 'It is 36.' } }] },
      { choices: [{ index: 0, delta: { reasoning_details: { receipt: { strategy: 'vote', chosen: 0, vote, thoughts: [thought(0, '36'), thought(1, '36'), thought(2, '35')], usage: {} } } }, finish_reason: 'stop' }] },
      '[DONE]',
    ])
    await ask(page, QUESTION)
    expect(await page.getByTestId('vote').innerText()).toMatch(/36\s*67%, 2 votes\s*35\s*33%, 1 vote/)
    await fold(page).click()
    const colours = await cards(page).evaluateAll((all) => all.map((card) => getComputedStyle(card).borderTopColor))
    expect(colours[0]).toBe(colours[1])
    expect(colours[0]).not.toBe(colours[2])
    await cards(page).nth(2).getByRole('button', { name: 'Go on from this answer' }).click()
    expect(await page.locator('.answer-body').innerText()).toBe('It is 35.')
    const body = await nextBody(page, () => send(page, 'Sure?'))
    expect(body.messages[1]).toEqual({ role: 'assistant', content: 'It is 35.' })
  })

  it('can be stopped', async () => {
    const page = await open({ settings: { way: 'vote' } })
    await send(page, QUESTION)
    await page.waitForSelector('.card.live')
    await page.keyboard.press('Escape')
    await last(page, 'stopped')
    await fold(page).click()
    expect(await page.locator('.card.live').count()).toBe(0)
    expect(await page.locator('.card.given-up').count()).toBeGreaterThan(0)
  })

  it('may be refused in the server’s words', async () => {
    const page = await open({ settings: { way: 'program' } })
    await send(page, QUESTION)
    await last(page, 'failed')
    expect(await page.locator('.failure').innerText()).toContain('--allow-programs')
    expect(await fold(page).count()).toBe(0)
  })

  it('tells screen readers of votes, not of words', async () => {
    const page = await open({ settings: { way: 'vote' } })
    await page.evaluate(() => {
      const said: string[] = ((window as never as { said: string[] }).said = [])
      new MutationObserver(() => said.push(document.querySelector('.hidden[aria-live=polite]')!.textContent!)).observe(
        document.querySelector('.hidden[aria-live=polite]')!,
        { childList: true, characterData: true, subtree: true },
      )
    })
    await answerWith(page, [
      event({ begun: { thought: 0, about: '' } }),
      ...Array.from({ length: 30 }, () => event({ text: { thought: 0, text: 'word ' } })),
      event({ over: { thought: 0, answer: '36', end: 'ended' } }),
      event({ vote: { clusters: [{ answer: '36', weight: 1, thoughts: [0] }], sure: 0.6 } }),
      { choices: [{ index: 0, delta: { content: '36' }, finish_reason: 'stop' }] },
      '[DONE]',
    ])
    await ask(page, QUESTION)
    const said = await page.evaluate(() => (window as never as { said: string[] }).said)
    expect(said.length).toBeLessThan(6)
    expect(said.at(-1)).toContain('Answer complete.')
  })

  it.skipIf(real)('is revised, with what each thought is about', async () => {
    const page = await open({ settings: { way: 'revise' } })
    await ask(page, QUESTION)
    await fold(page).click()
    expect(await page.locator('.card h2').allInnerTexts()).toEqual(['Thought 1 draft', 'Thought 2 doubt', 'Thought 3 revision'])
  })
})
