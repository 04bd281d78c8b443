// Screenshots of the built page against the mock, into shots/: `npm run shots [NAME …]`.
import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { start } from '../mock/server.mjs'
import { launch } from './browser.mjs'

const out = fileURLToPath(new URL('../shots/', import.meta.url))
mkdirSync(out, { recursive: true })
const wanted = process.argv.slice(2)
const { server, url } = await start({ delay: 4 })
const slow = await start({ delay: 60 })
const browser = await launch()

const DESKTOP = { width: 1280, height: 860 }
const PHONE = { width: 360, height: 740 }

async function shot(name, { size = DESKTOP, dark = false, lang = 'en-US', settings = {}, base = url, touch = false }, act) {
  if (wanted.length && !wanted.includes(name)) return
  const context = await browser.newContext({
    viewport: size,
    colorScheme: dark ? 'dark' : 'light',
    locale: lang,
    hasTouch: touch,
    isMobile: touch,
    deviceScaleFactor: touch ? 2 : 1,
  })
  const page = await context.newPage()
  page.on('pageerror', (error) => console.error(name, error))
  page.on('console', (message) => message.type() === 'error' && console.error(name, message.text()))
  await page.addInitScript((all) => localStorage.setItem('ponder.settings', JSON.stringify(all)), settings)
  await page.goto(base)
  await page.waitForSelector('#message')
  await act(page)
  await page.waitForTimeout(250)
  await page.screenshot({ path: `${out}${name}.png` })
  await context.close()
}

const ask = async (page, text) => {
  await page.fill('#message', text)
  await page.press('#message', 'Enter')
}
const done = (page) => page.waitForSelector('.answer:last-child[data-status="done"]')

const QUESTION = 'What is the sum of the first n odd numbers? Prove it.'

await shot('welcome', {}, async () => {})
await shot('light', {}, async (page) => {
  await ask(page, 'Show me some code for the sum of odd numbers')
  await done(page)
  await ask(page, QUESTION)
  await done(page)
})
await shot('dark', { dark: true }, async (page) => {
  await ask(page, 'Show me some code for the sum of odd numbers')
  await done(page)
})
await shot('table', {}, async (page) => {
  await ask(page, 'A table, please')
  await done(page)
})
await shot('thinking', { base: slow.url }, async (page) => {
  await ask(page, QUESTION)
  await page.waitForTimeout(4500)
})
await shot('folded-open', { dark: true }, async (page) => {
  await ask(page, QUESTION)
  await done(page)
  await page.click('.fold')
  await page.evaluate(() => document.querySelector('.chat').scrollTo(0, 0))
})
const REASON = 'What is the sum of the first six odd numbers?'
/** Until there are so many votes. */
const votes = (page, n) =>
  page.waitForFunction((n) => document.querySelectorAll('.card .badge').length >= n, n)
for (const dark of [false, true]) {
  const mode = dark ? '-dark' : ''
  await shot(`vote${mode}`, { dark, base: slow.url, size: { width: 1440, height: 1000 }, settings: { way: 'vote' } }, async (page) => {
    await ask(page, REASON)
    await votes(page, 5)
  })
  await shot(`vote-done${mode}`, { dark, settings: { way: 'vote' } }, async (page) => {
    await ask(page, REASON)
    await done(page)
  })
  await shot(`vote-open${mode}`, { dark, size: { width: 1440, height: 1100 }, settings: { way: 'vote' } }, async (page) => {
    await ask(page, REASON)
    await done(page)
    await page.click('.run-head > .fold')
    await page.click('.figures summary')
    await page.locator('.card .text-button').nth(2).click()
  })
  await shot(`phone-vote${mode}`, { size: PHONE, touch: true, dark, base: slow.url, settings: { way: 'vote' } }, async (page) => {
    await ask(page, REASON)
    await votes(page, 3)
  })
  await shot(`phone-vote-done${mode}`, { size: PHONE, touch: true, dark, settings: { way: 'vote' } }, async (page) => {
    await ask(page, REASON)
    await done(page)
  })
}
await shot('revise', { base: slow.url, settings: { way: 'revise' } }, async (page) => {
  await ask(page, REASON)
  await votes(page, 1)
  await page.waitForTimeout(1500)
})
await shot('single', { base: slow.url, settings: { way: 'single' } }, async (page) => {
  await ask(page, REASON)
  await page.waitForTimeout(3000)
})
await shot('program-refused', { settings: { way: 'program' } }, async (page) => {
  await ask(page, REASON)
  await page.waitForSelector('.failure')
})
await shot('probabilities', { settings: { logprobs: true } }, async (page) => {
  await ask(page, QUESTION)
  await done(page)
  await page.click('.answer-foot .text-button')
  await page.locator('.token-text .token.p3, .token-text .token.p4').first().hover()
})
await shot('probabilities-dark', { dark: true, settings: { logprobs: true } }, async (page) => {
  await ask(page, QUESTION)
  await done(page)
  await page.click('.answer-foot .text-button')
  await page.locator('.token-text .token.p3').first().hover()
})
await shot('settings', { settings: { way: 'vote' } }, (page) => page.click('.top .icon-button:last-child'))
await shot('error', {}, async (page) => {
  await ask(page, 'Make an error')
  await page.waitForSelector('.failure')
})
await shot('edit', {}, async (page) => {
  await ask(page, QUESTION)
  await done(page)
  await page.click('.question .icon-edit')
  await page.keyboard.type(' And code')
  await page.keyboard.press('Enter')
  await page.waitForTimeout(200)
  await done(page)
})
await shot('hindi', { lang: 'hi-IN' }, async (page) => {
  await ask(page, 'पहली n विषम संख्याओं का योग क्या है? सिद्ध कीजिए।')
  await done(page)
})
await shot('chinese', { lang: 'zh-CN', dark: true, settings: { way: 'vote' } }, async (page) => {
  await ask(page, '前 n 个奇数的和是多少？请证明。')
  await done(page)
})
const phone = { size: PHONE, touch: true }
await shot('phone', phone, async (page) => {
  await ask(page, QUESTION)
  await done(page)
})
await shot('phone-welcome', { ...phone, lang: 'hi-IN' }, async () => {})
await shot('phone-sidebar', { ...phone, dark: true }, async (page) => {
  await ask(page, QUESTION)
  await done(page)
  await page.click('.top .icon-button')
})
await shot('phone-settings', { ...phone, lang: 'zh-CN', settings: { way: 'vote' } }, (page) => page.click('.top .icon-button:last-child'))

await browser.close()
server.close()
slow.server.close()
