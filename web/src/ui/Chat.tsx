import { memo } from 'preact/compat'
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import { children, path } from '../model/tree'
import type { Node } from '../model/types'
import { answer } from '../store/chat'
import { useApp, useT } from '../store/app'
import { Answers } from './Answer'
import { Icon } from './icons'
import { Question } from './Question'

interface TurnProps {
  conversation: string
  node: Node
  /** Ids of the node and its siblings, joined: a string, so that it compares. */
  branches: string
  busy: boolean
}

const Turn = memo(function Turn({ conversation, node, branches, busy }: TurnProps) {
  const ids = branches.split(' ')
  return node.role === 'user' ? (
    <Question conversation={conversation} node={node} branches={ids} busy={busy} />
  ) : (
    <Answers
      conversation={conversation}
      node={node}
      branches={ids}
      busy={busy}
      onRegenerate={() => node.parent && void answer(conversation, node.parent)}
    />
  )
})

const NEAR = 60

export function Chat() {
  const t = useT()
  const current = useApp((state) => state.current)
  const conversation = useApp((state) => (current === null ? undefined : state.conversations[current]))
  const busy = useApp((state) => current !== null && state.running[current] !== undefined)
  const scroller = useRef<HTMLDivElement>(null)
  const content = useRef<HTMLDivElement>(null)
  const follow = useRef(true)
  const [away, setAway] = useState(false)
  const nodes = useMemo(() => (conversation ? path(conversation) : []), [conversation])

  const toEnd = (): void => {
    follow.current = true
    const box = scroller.current
    if (box) box.scrollTop = box.scrollHeight
  }
  useLayoutEffect(toEnd, [current])
  useEffect(() => {
    if (busy) toEnd()
  }, [busy])
  useEffect(() => {
    const observer = new ResizeObserver(() => {
      const box = scroller.current
      if (!box) return
      if (follow.current) box.scrollTop = box.scrollHeight
      setAway(box.scrollHeight - box.scrollTop - box.clientHeight > NEAR)
    })
    observer.observe(content.current!)
    return () => observer.disconnect()
  }, [])
  const last = useRef(0)
  const scrolled = (): void => {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current!
    const near = scrollHeight - scrollTop - clientHeight <= NEAR
    // Only going up lets go; what grows below does not.
    if (near) follow.current = true
    else if (scrollTop < last.current) follow.current = false
    last.current = scrollTop
    setAway(!near)
  }

  return (
    <main class="chat" ref={scroller} onScroll={scrolled}>
      <div class="chat-content" ref={content} role="log" aria-live="off" aria-label={t('messages')}>
        {nodes.length === 0 || !conversation ? (
          <div class="welcome">
            <h1>{t('welcome')}</h1>
            <p class="muted">{t('welcomeHint')}</p>
          </div>
        ) : (
          nodes.map((node) => (
            <Turn
              key={node.id}
              conversation={conversation.id}
              node={node}
              branches={children(conversation, node.parent)
                .map(({ id }) => id)
                .join(' ')}
              busy={busy}
            />
          ))
        )}
      </div>
      {away && (
        <button type="button" class="to-latest" aria-label={t('toLatest')} title={t('toLatest')} onClick={toEnd}>
          <Icon name="down" />
        </button>
      )}
    </main>
  )
}
