import { describe, expect, it } from 'vitest'
import { answerWith, ask, last, nextBody, open, questions, real, send } from './page'

const QUESTION = 'What is the sum of the first six odd numbers?'

describe('a question', () => {
  it('is answered, with figures', async () => {
    const page = await open()
    const body = await nextBody(page, () => send(page, QUESTION))
    expect(body).toMatchObject({
      messages: [{ role: 'user', content: QUESTION }],
      stream: true,
      stream_options: { include_usage: true },
    })
    await last(page, 'done')
    const answer = page.locator('.turn.answer')
    expect((await answer.locator('.markdown, .note, .thinking').first().innerText()).length).toBeGreaterThan(0)
    expect(await page.getByTestId('stats').innerText()).toMatch(/tokens\/s · .*tokens?/)
    expect(await page.inputValue('#message')).toBe('')
  })

  it('is followed by another, with what was said before', async () => {
    const page = await open()
    await ask(page, 'First?')
    const body = await nextBody(page, () => send(page, 'Second?'))
    expect(body.messages.map(({ role }: { role: string }) => role)).toEqual(['user', 'assistant', 'user'])
    await last(page, 'done')
  })

  it('may have several lines', async () => {
    const page = await open()
    await page.fill('#message', 'one')
    await page.press('#message', 'Shift+Enter')
    await page.keyboard.type('two')
    const body = await nextBody(page, () => page.press('#message', 'Enter'))
    expect(body.messages[0].content).toBe('one\ntwo')
    await last(page, 'done')
  })

  it('is not sent while a word is being composed', async () => {
    const page = await open()
    await page.fill('#message', 'ni hao')
    await page.dispatchEvent('#message', 'keydown', { key: 'Enter', isComposing: true })
    await page.waitForTimeout(200)
    expect(await questions(page)).toEqual([])
  })

  it('can be stopped with Esc, and what was written stays', async () => {
    const page = await open({ settings: { max_tokens: 2000 } })
    await send(page, 'Write a very long story about a long list of numbers.')
    await page.waitForSelector('.thinking, .turn.answer .markdown')
    await page.keyboard.press('Escape')
    await last(page, 'stopped')
    expect(await page.locator('.turn.answer').innerText()).toContain('Stopped.')
    await ask(page, 'Go on?')
  })
})

describe('thinking', () => {
  it('is open while it goes on, folds when the answer begins, and opens again', async () => {
    const page = await open()
    if (real) {
      // Whether a model thinks is its own affair; the page's part is the same.
      await answerWith(page, [
        { choices: [{ index: 0, delta: { reasoning_content: 'Hm.' } }] },
        { choices: [{ index: 0, delta: { content: 'Yes.' }, finish_reason: 'stop' }] },
        '[DONE]',
      ])
      await send(page, QUESTION)
    } else {
      await send(page, QUESTION)
      await page.waitForSelector('.thinking.live .fold[aria-expanded="true"]')
      expect(await page.locator('.fold-count').innerText()).toMatch(/\d+ tokens? · \d+\.\d s/)
    }
    await last(page, 'done')
    const fold = page.locator('.fold')
    expect(await fold.getAttribute('aria-expanded')).toBe('false')
    await fold.click()
    expect(await page.locator('.thinking-body').isVisible()).toBe(true)
    await fold.press('Enter')
    expect(await page.locator('.thinking-body').isVisible()).toBe(false)
  })

  it('has a budget', async () => {
    const page = await open()
    const slider = page.getByRole('slider')
    await slider.press('Home')
    expect(await slider.getAttribute('aria-valuetext')).toBe('none')
    let body = await nextBody(page, () => send(page, 'a'))
    expect(body.chat_template_kwargs).toEqual({ enable_thinking: false })
    expect(body).not.toHaveProperty('thinking_budget')
    await last(page, 'done')
    await slider.press('ArrowRight')
    body = await nextBody(page, () => send(page, 'b'))
    expect(body.thinking_budget).toBe(128)
    await last(page, 'done')
    await slider.press('End')
    body = await nextBody(page, () => send(page, 'c'))
    expect(body).not.toHaveProperty('thinking_budget')
    expect(body).not.toHaveProperty('chat_template_kwargs')
    await last(page, 'done')
  })
})

describe('branches', () => {
  it('come from asking again', async () => {
    const page = await open()
    await ask(page, QUESTION)
    await page.getByRole('button', { name: 'Answer again' }).click()
    await last(page, 'running')
    await last(page, 'done')
    const answer = page.locator('.turn.answer')
    expect(await answer.locator('.branch-count').innerText()).toBe('2/2')
    await answer.getByRole('button', { name: 'Previous branch' }).click()
    expect(await answer.locator('.branch-count').innerText()).toBe('1/2')
    expect(await questions(page)).toEqual([QUESTION])
  })

  it('come from editing a message', async () => {
    const page = await open()
    await ask(page, 'One?')
    await ask(page, 'Two?')
    const first = page.locator('.question').first()
    await first.getByRole('button', { name: 'Edit', exact: true }).click()
    await first.getByRole('textbox').fill('Another?')
    const body = await nextBody(page, () => page.keyboard.press('Enter'))
    expect(body.messages).toEqual([{ role: 'user', content: 'Another?' }])
    await last(page, 'done')
    expect(await questions(page)).toEqual(['Another?'])
    await first.getByRole('button', { name: 'Previous branch' }).click()
    expect(await questions(page)).toEqual(['One?', 'Two?'])
    await first.getByRole('button', { name: 'Next branch' }).click()
    expect(await questions(page)).toEqual(['Another?'])
  })
})

describe('attachments', () => {
  const attach = (page: Awaited<ReturnType<typeof open>>, name: string, buffer: Buffer) =>
    page.setInputFiles('.composer input[type=file]', { name, mimeType: 'application/octet-stream', buffer })

  it('go into the message', async () => {
    const page = await open()
    await attach(page, 'notes.txt', Buffer.from('the moon is far\n'))
    await page.fill('#message', 'Sum this up.')
    const body = await nextBody(page, () => page.press('#message', 'Enter'))
    expect(body.messages[0].content).toBe('notes.txt:\n```txt\nthe moon is far\n```\n\nSum this up.')
    await last(page, 'done')
    expect(await page.locator('.question .file').innerText()).toBe('notes.txt')
  })

  it('are refused where they are not text, or too much of it', async () => {
    const page = await open()
    await attach(page, 'a.png', Buffer.from([0x89, 0x50, 0, 0xff]))
    await page.getByText('a.png is not a text file.').waitFor()
    await attach(page, 'b.txt', Buffer.alloc((1 << 20) + 1, 'a'))
    await page.getByText('b.txt is larger than 1 MB.').waitFor()
    expect(await page.locator('.composer .file').count()).toBe(0)
  })

  it('can be dropped and taken away', async () => {
    const page = await open()
    const data = await page.evaluateHandle(() => {
      const transfer = new DataTransfer()
      transfer.items.add(new File(['x = 1'], 'a.py'))
      return transfer
    })
    await page.dispatchEvent('.chat', 'drop', { dataTransfer: data })
    await page.getByRole('button', { name: 'Remove a.py' }).click()
    expect(await page.locator('.composer .file').count()).toBe(0)
  })
})

describe('what a model writes', () => {
  const write = async (content: string) => {
    const page = await open()
    await answerWith(page, [{ choices: [{ index: 0, delta: { content }, finish_reason: 'stop' }] }, '[DONE]'])
    await ask(page, QUESTION)
    return page
  }

  it('has formulas and coloured code that can be copied', async () => {
    const page = await write('So $a_1$ and \\[ \\frac{1}{2} \\]\n\n```python\nprint("x")\n```\n')
    await page.waitForSelector('.katex-display')
    expect(await page.locator('.katex').count()).toBe(2)
    await page.waitForSelector('.hljs-string')
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.locator('.code').getByRole('button', { name: 'Copy' }).click()
    await page.locator('.code').getByRole('button', { name: 'Copied' }).waitFor()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('print("x")\n')
  })

  it('cannot do anything', async () => {
    const page = await write(
      '<img src=x onerror="window.hit=1"> <script>window.hit=1</script> [x](javascript:window.hit=1) ![i](http://example.com/i.png) <b onclick="window.hit=1">b</b>',
    )
    expect(await page.locator('.markdown img, .markdown script, .markdown [onclick]').count()).toBe(0)
    expect(await page.evaluate(() => 'hit' in window)).toBe(false)
  })

  it('includes calls of tools', async () => {
    const page = await open()
    const call = { index: 0, id: 'c', type: 'function', function: { name: 'add', arguments: '{"a":1}' } }
    await answerWith(page, [{ choices: [{ index: 0, delta: { tool_calls: [call] }, finish_reason: 'tool_calls' }] }, '[DONE]'])
    await ask(page, QUESTION)
    expect(await page.locator('.tool-call').innerText()).toContain('add')
  })
})

describe('token probabilities', () => {
  it('are shown with their alternatives, to the keyboard too', async () => {
    const page = await open({ settings: { logprobs: true, budget: 0 } })
    const body = await nextBody(page, () => send(page, QUESTION))
    expect(body).toMatchObject({ logprobs: true, top_logprobs: 5 })
    await last(page, 'done')
    await page.getByRole('button', { name: 'Show probabilities' }).click()
    const tokens = page.locator('.token-text .token')
    await tokens.first().focus()
    expect(await page.locator('.alternatives tr').count()).toBeGreaterThan(1)
    await page.keyboard.press('ArrowRight')
    expect(await page.evaluate(() => (document.activeElement as HTMLElement).dataset.at)).toBe('1')
    await page.mouse.move(0, 0)
    await tokens.nth(2).hover()
    expect(await page.locator('.alternatives').isVisible()).toBe(true)
    await page.getByRole('button', { name: 'Show text' }).click()
    expect(await tokens.count()).toBe(0)
  })
})
