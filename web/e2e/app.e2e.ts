import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { answerWith, ask, last, nextBody, open, questions, real, send } from './page'

describe('conversations', () => {
  it('are still there after the page is loaded again', async () => {
    const page = await open()
    await ask(page, 'Remember this?')
    await page.reload()
    await page.waitForSelector('.question-text')
    expect(await questions(page)).toEqual(['Remember this?'])
    await page.waitForSelector('.turn.answer[data-status="done"]')
  })

  it('can be found, renamed and deleted', async () => {
    const page = await open()
    await ask(page, 'About apples?')
    await page.keyboard.press('Control+k')
    await ask(page, 'About pears?')
    const list = page.locator('.conversation')
    expect(await list.count()).toBe(2)

    await page.getByRole('searchbox').fill('apples')
    expect(await list.allInnerTexts()).toEqual(['About apples?'])
    await list.first().click()
    expect(await questions(page)).toEqual(['About apples?'])

    await page.locator('.conversations li').hover()
    await page.getByRole('button', { name: 'Rename' }).click()
    await page.getByRole('dialog').getByRole('textbox').fill('Fruit with apples')
    await page.keyboard.press('Enter')
    expect(await list.allInnerTexts()).toEqual(['Fruit with apples'])

    await page.locator('.conversations li').hover()
    await page.getByRole('button', { name: 'Delete' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await page.getByRole('searchbox').fill('')
    expect(await list.allInnerTexts()).toEqual(['About pears?'])
    await page.reload()
    await page.waitForSelector('.conversation')
    expect(await list.allInnerTexts()).toEqual(['About pears?'])
  })

  it('go out as a file and come back', async () => {
    const page = await open()
    await ask(page, 'Keep me?')
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Export all' }).click(),
    ])
    const file = readFileSync(await download.path(), 'utf8')
    expect(JSON.parse(file).format).toBe('ponder-conversations')

    const other = await open()
    await other.setInputFiles('.sidebar input[type=file]', { name: 'a.json', mimeType: 'application/json', buffer: Buffer.from(file) })
    await other.getByText('Conversations imported: 1').waitFor()
    await other.locator('.conversation').click()
    expect(await questions(other)).toEqual(['Keep me?'])
    await other.setInputFiles('.sidebar input[type=file]', { name: 'b.json', mimeType: 'application/json', buffer: Buffer.from('{}') })
    await other.getByText('This file holds no conversations').waitFor()
  })
})

describe('settings', () => {
  it('are sent with the question, and kept', async () => {
    const page = await open()
    await page.getByRole('button', { name: 'Settings' }).click()
    const set = async (label: string, value: string) => {
      const field = page.getByLabel(label, { exact: true })
      await field.fill(value)
      await field.blur()
    }
    await set('System prompt', 'Be brief.')
    await set('Temperature', '0.6')
    await set('Top-p', '0.95')
    await set('Top-k', '20')
    await set('Min-p', '0.05')
    await set('Repetition penalty', '1.1')
    await set('Max tokens', '16')
    await set('Seed', '7')
    await page.keyboard.press('Escape')
    await page.reload()
    await page.waitForSelector('#message')
    const body = await nextBody(page, () => send(page, 'Hello?'))
    expect(body).toMatchObject({ temperature: 0.6, top_p: 0.95, top_k: 20, min_p: 0.05, repetition_penalty: 1.1, max_tokens: 16, seed: 7 })
    expect(body.messages[0]).toEqual({ role: 'system', content: 'Be brief.' })
    await last(page, 'done')
  })

  it('name the server’s models', async () => {
    const page = await open()
    const models = await page.evaluate(async () => ((await (await fetch('v1/models')).json()).data as { id: string }[]).map(({ id }) => id))
    expect(models.length).toBeGreaterThan(0)
    await page.waitForFunction((name) => [...document.querySelectorAll('.model option')].some((option) => option.textContent === name), models[0]!)
  })
})

describe('trouble', () => {
  it('a key that is asked for is sent, and forgotten with the tab', async () => {
    const page = await open({
      before: (page) =>
        page.route('**/v1/**', (route) => {
          if (route.request().headers().authorization === 'Bearer sesame') return route.continue({ headers: { ...route.request().headers(), authorization: '' } })
          return route.fulfill({ status: 401, json: { error: { message: 'key?', type: 'authentication_error', code: null, param: null } } })
        }),
    })
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('API key').fill('wrong')
    await page.keyboard.press('Enter')
    await dialog.getByText('The server did not accept this key.').waitFor()
    await page.keyboard.press('Escape')
    await send(page, 'Open?')
    await dialog.waitFor()
    await dialog.getByLabel('API key').fill('sesame')
    await page.keyboard.press('Enter')
    await last(page, 'done')
    expect(await page.locator('.failure').count()).toBe(0)
    expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain('sesame')
  })

  it('a server that is gone is waited for', async () => {
    const page = await open()
    await page.waitForTimeout(300)
    await page.route('**/v1/**', (route) => route.abort('connectionrefused'))
    await send(page, 'Anyone there?')
    await last(page, 'failed')
    expect(await page.locator('.failure').innerText()).toContain('The server does not answer.')
    await page.locator('.banner').waitFor()
    await page.unroute('**/v1/**')
    await page.locator('.banner').waitFor({ state: 'detached' })
    await page.locator('.failure').getByRole('button', { name: 'Try again' }).click()
    await last(page, 'done')
    expect(await page.locator('.failure').count()).toBe(0)
    expect(await page.locator('.branch-count').count()).toBe(0)
  })

  it('an error in the stream is told, and what came before it stays', async () => {
    const page = await open()
    await answerWith(page, [
      { choices: [{ index: 0, delta: { content: 'So far' } }] },
      { error: { message: 'out of memory', type: 'server_error', code: null, param: null } },
    ])
    await send(page, 'Hello?')
    await last(page, 'failed')
    expect(await page.locator('.turn.answer').innerText()).toMatch(/So far[\s\S]*The server reports: out of memory/)
  })

  it('an error instead of a stream is told', async () => {
    const page = await open()
    await page.route('**/v1/chat/completions', (route) =>
      route.fulfill({ status: 400, json: { error: { message: 'too long', type: 'invalid_request_error', code: null, param: 'messages' } } }),
    )
    await send(page, 'Hello?')
    await last(page, 'failed')
    expect(await page.locator('.failure').innerText()).toContain('too long')
  })

  it('a stream that breaks off is told', async () => {
    const page = await open()
    await answerWith(page, [{ choices: [{ index: 0, delta: { content: 'So' } }] }])
    await send(page, 'Hello?')
    await last(page, 'failed')
    expect(await page.locator('.failure').innerText()).toContain('broke off')
  })

  it.skipIf(!real)('what the real server refuses is told in its words', async () => {
    const page = await open({ settings: { model: 'no-such-model' }, before: (page) => page.route('**/v1/models', (route) => route.fulfill({ json: { data: [] } })) })
    await send(page, 'Hello?')
    await page.waitForSelector('.turn.answer:not([data-status="running"])')
  })
})

describe('the interface', () => {
  it('speaks the browser’s language, and others', async () => {
    const page = await open({ locale: 'hi-IN' })
    expect(await page.getAttribute('html', 'lang')).toBe('hi')
    await page.locator('.sidebar select').selectOption('zh')
    await page.getByRole('button', { name: '新对话' }).waitFor()
    expect(await page.getAttribute('html', 'lang')).toBe('zh-CN')
    await page.reload()
    await page.getByRole('button', { name: '新对话' }).waitFor()
  })

  it('has a light and a dark theme', async () => {
    const page = await open({ colorScheme: 'dark' })
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    const dark = await paper()
    await page.getByRole('button', { name: 'Theme: As the system' }).click()
    await page.getByRole('button', { name: 'Theme: Light' }).waitFor()
    expect(await paper()).not.toBe(dark)
    await page.reload()
    await page.waitForSelector('#message')
    expect(await paper()).not.toBe(dark)
  })

  it('can be used with the keyboard', async () => {
    const page = await open()
    expect(await focused(page)).toBe('message')
    await page.keyboard.press('Control+/')
    const dialog = page.getByRole('dialog')
    await dialog.waitFor()
    for (let i = 0; i < 4; i++) {
      await page.keyboard.press('Tab')
      expect(await page.evaluate(() => document.activeElement?.closest('dialog') !== null)).toBe(true)
    }
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
    expect(await focused(page)).toBe('message')
    await ask(page, 'One?')
    await page.keyboard.press('Control+k')
    expect(await questions(page)).toEqual([])
    await page.waitForFunction(() => document.activeElement?.id === 'message')
  })

  it('tells screen readers what goes on', async () => {
    const page = await open()
    const said = page.locator('.hidden[aria-live=polite]')
    await ask(page, 'One?')
    expect(await said.innerText()).toContain('Answer complete.')
  })

  it('fits on a phone', async () => {
    const page = await open({ viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true, settings: { way: 'vote' } })
    const content = `$$${'x + '.repeat(60)}1$$\n\n\`\`\`\n${'long '.repeat(80)}\n\`\`\`\n\n| ${'wide | '.repeat(20)}\n|${'---|'.repeat(20)}\n\n${'word'.repeat(100)}`
    const thought = (number: number) => ({ number, reasoning: '', content, answer: 'word'.repeat(30), end: 'ended', tokens: {}, steps: [], seconds: 1 })
    const vote = [{ answer: 'word'.repeat(30), weight: 2, thoughts: [0, 1] }]
    await answerWith(page, [
      { choices: [{ index: 0, delta: { reasoning_details: { event: { begun: { thought: 0, about: '' } } } } }] },
      { choices: [{ index: 0, delta: { content } }] },
      { choices: [{ index: 0, delta: { reasoning_details: { receipt: { chosen: 0, vote, thoughts: [thought(0), thought(1)], usage: {} } } }, finish_reason: 'stop' }] },
      '[DONE]',
    ])
    await ask(page, 'x'.repeat(200))
    await page.waitForSelector('.katex')
    await page.locator('.run-head > .fold').click()
    await page.waitForSelector('.card .katex')
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360)
    expect(await page.evaluate(() => innerWidth)).toBe(360)
    const inside = await page.evaluate(() => document.querySelector('.chat')!.scrollWidth <= document.querySelector('.chat')!.clientWidth)
    expect(inside).toBe(true)
    await page.getByRole('button', { name: 'Show conversations' }).click()
    await page.locator('.conversation').waitFor()
    await page.keyboard.press('Escape')
    await page.locator('.sidebar').waitFor({ state: 'detached' })
  })
})

const focused = (page: Page) => page.evaluate(() => document.activeElement?.id)
