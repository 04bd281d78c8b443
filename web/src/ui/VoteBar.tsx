import { majority } from '../model/vote'
import type { AssistantNode } from '../model/types'
import { useT } from '../store/app'
import { Markdown } from './Markdown'

/** What several answers agree on: the server's vote, or else the page's own. */
export function VoteBar({ node }: { node: AssistantNode }) {
  const t = useT()
  const vote = node.vote ?? (node.status === 'running' ? null : majority(node.answers))
  const agreed = vote && (vote.members.length > 1 || vote.total === 1)
  return (
    <div class="vote" data-testid="vote">
      <span class="vote-name">{t('vote')}</span>
      {!vote ? (
        <span class="muted">{t('answersSideBySide', { n: node.answers.length })}</span>
      ) : agreed ? (
        <>
          <span class="vote-answer">
            <Markdown text={asMarkdown(vote.answer)} />
          </span>
          <span class="muted">{t('majority', { n: vote.members.length, total: vote.total })}</span>
        </>
      ) : (
        <span class="muted">{t('noMajority', { total: vote.total })}</span>
      )}
    </div>
  )
}

/** What stood in a `\boxed{}` is a formula without its delimiters. */
const asMarkdown = (answer: string): string =>
  /[\\^_{}]/.test(answer) && !/\$|\\[([]/.test(answer) ? `$${answer}$` : answer
