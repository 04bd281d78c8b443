import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Attachment, UserNode } from '../model/types'
import { send } from '../store/chat'
import { useT } from '../store/app'
import { Attachments } from './Attachments'
import { Branches } from './Branches'
import { CopyButton } from './CopyButton'
import { useGrowing } from './hooks'
import { IconButton } from './icons'

interface Props {
  conversation: string
  node: UserNode
  branches: string[]
  busy: boolean
}

export function Question({ conversation, node, branches, busy }: Props) {
  const t = useT()
  const [editing, setEditing] = useState(false)
  return (
    <article class="turn question" aria-label={t('you')}>
      {editing ? (
        <Editor conversation={conversation} node={node} busy={busy} onDone={() => setEditing(false)} />
      ) : (
        <>
          <Attachments files={node.attachments} />
          {node.text && (
            <p class="question-text" dir="auto">
              {node.text}
            </p>
          )}
          <span class="actions">
            <Branches conversation={conversation} id={node.id} ids={branches} />
            <CopyButton text={node.text} />
            <IconButton icon="edit" label={t('edit')} disabled={busy} onClick={() => setEditing(true)} />
          </span>
        </>
      )}
    </article>
  )
}

function Editor({ conversation, node, busy, onDone }: Omit<Props, 'branches'> & { onDone: () => void }) {
  const t = useT()
  const [text, setText] = useState(node.text)
  const [files, setFiles] = useState<Attachment[]>(node.attachments)
  const area = useRef<HTMLTextAreaElement>(null)
  useGrowing(area, text)
  useLayoutEffect(() => {
    area.current?.focus()
    area.current?.setSelectionRange(text.length, text.length)
  }, [])
  const ready = !busy && (text.trim() !== '' || files.length > 0)
  const submit = (): void => {
    if (!ready) return
    send(conversation, node.parent, text, files)
    onDone()
  }
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault()
        submit()
      }}
      onKeyDown={(event) => {
        if (event.key === 'Escape') {
          event.stopPropagation()
          onDone()
        } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.target === area.current) {
          event.preventDefault()
          submit()
        }
      }}
    >
      <Attachments files={files} onRemove={(at) => setFiles(files.filter((_, index) => index !== at))} />
      <textarea
        ref={area}
        class="growing"
        aria-label={t('editMessage')}
        value={text}
        dir="auto"
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <div class="row end">
        <button type="button" class="button quiet" onClick={onDone}>
          {t('cancel')}
        </button>
        <button type="submit" class="button primary" disabled={!ready}>
          {t('sendEdited')}
        </button>
      </div>
    </form>
  )
}
