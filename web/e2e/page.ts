import type { Browser, BrowserContext, BrowserContextOptions, Page, Request } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, inject } from 'vitest'
import { launch } from './browser.mjs'

export const url = inject('url')
/** Whether a real model answers: nothing is said then about its words, and answers are kept short. */
export const real = inject('real')

let browser: Browser
const contexts: BrowserContext[] = []
const problems: string[] = []

beforeAll(async () => {
  browser = await launch()
})
afterAll(() => browser?.close())
afterEach(async () => {
  for (const context of contexts.splice(0)) await context.close()
  expect(problems.splice(0)).toEqual([])
})

export interface Options extends BrowserContextOptions {
  settings?: Record<string, unknown>
  /** Done before the page is opened. */
  before?: (page: Page) => Promise<unknown>
}

/** A fresh browser with the page. Errors on it, breaches of its policy and outside requests fail the test. */
export async function open({ settings = {}, before, ...options }: Options = {}): Promise<Page> {
  const context = await browser.newContext({ locale: 'en-US', viewport: { width: 1200, height: 800 }, ...options })
  contexts.push(context)
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  page.on('pageerror', (error) => problems.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error' && /Content Security Policy/i.test(message.text())) problems.push(message.text())
  })
  page.on('request', (request) => {
    const { protocol, origin } = new URL(request.url())
    if (protocol.startsWith('http') && origin !== new URL(url).origin) problems.push(`outside request: ${request.url()}`)
  })
  const stored = { ...(real ? { max_tokens: 40 } : {}), ...settings }
  await page.addInitScript((all) => {
    if (!localStorage.getItem('ponder.settings')) localStorage.setItem('ponder.settings', JSON.stringify(all))
  }, stored)
  await before?.(page)
  await page.goto(url)
  await page.waitForSelector('#message')
  return page
}

export async function send(page: Page, text: string): Promise<void> {
  await page.fill('#message', text)
  await page.press('#message', 'Enter')
}

/** Waits until the last answer has the status. */
export const last = (page: Page, status: 'running' | 'done' | 'stopped' | 'failed') =>
  page.waitForSelector(`.turn.answer:last-of-type[data-status="${status}"]`)

export async function ask(page: Page, text: string): Promise<void> {
  await send(page, text)
  await page.locator('.question-text', { hasText: text }).last().waitFor()
  await last(page, 'done')
}

/** The body of the next question that the page sends. */
export async function nextBody(page: Page, act: () => Promise<unknown>): Promise<Record<string, any>> {
  const asked = page.waitForRequest((request: Request) => request.url().endsWith('/v1/chat/completions'))
  await act()
  return (await asked).postDataJSON()
}

export const questions = (page: Page) => page.locator('.question-text').allTextContents()

/** The page answers itself, as a server would that sends these events. */
export const answerWith = (page: Page, events: (object | string)[], status = 200) =>
  page.route('**/v1/chat/completions', (route) =>
    route.fulfill({
      status,
      contentType: 'text/event-stream',
      body: events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join(''),
    }),
  )
