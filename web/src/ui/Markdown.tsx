import { memo } from 'preact/compat'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { type Block, GrowingMarkdown } from '../markdown/lex'
import { extrasLoaded, loadExtras, renderBlock } from '../markdown/render'
import { useT } from '../store/app'
import { copyText } from './hooks'

const BlockView = memo(
  function BlockView({ block, extras }: { block: Block; extras: boolean }) {
    const t = useT()
    const ref = useRef<HTMLDivElement>(null)
    useLayoutEffect(() => {
      const labels = { copy: t('copy'), code: t('codeBlock'), table: t('table') }
      ref.current?.replaceChildren(renderBlock(block, labels))
    }, [block.raw, extras, t])
    return <div ref={ref} />
  },
  (a, b) => a.block.raw === b.block.raw && a.block.type === b.block.type && a.extras === b.extras,
)

export function Markdown({ text }: { text: string }) {
  const t = useT()
  const growing = useRef<GrowingMarkdown>(undefined)
  growing.current ??= new GrowingMarkdown()
  const [extras, setExtras] = useState(extrasLoaded)
  useEffect(() => {
    if (!extras) void loadExtras().then(() => setExtras(true))
  }, [extras])

  const copy = (event: MouseEvent): void => {
    const button = (event.target as Element).closest<HTMLButtonElement>('[data-copy]')
    const code = button?.closest('.code')?.querySelector('code')
    if (!button || !code) return
    void copyText(code.textContent).then(() => {
      button.textContent = t('copied')
      setTimeout(() => (button.textContent = t('copy')), 1500)
    })
  }
  return (
    <div class="markdown" dir="auto" onClick={copy}>
      {growing.current.update(text).map((block, index) => (
        <BlockView key={index} block={block} extras={extras} />
      ))}
    </div>
  )
}
