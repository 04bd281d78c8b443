import { emptyAnswer } from './tree'
import { closeRun, newRun, type Run } from './run'
import type { Answer, AssistantNode, Conversation, Node } from './types'
import { clusters } from './vote'

/**
 * Pages before strategies asked for several answers side by side and took the vote themselves. What
 * they kept is shown as the thoughts of a vote.
 */

/** An assistant's node as those pages kept it. */
type Old = Omit<AssistantNode, 'answer' | 'run'> & { answers: Answer[]; chosen: number }

const isOld = (node: Node | Old): node is Old => 'answers' in node

export function fromAnswers(answers: Answer[], chosen: number): { answer: Answer; run: Run | null } {
  const answer = answers[chosen] ?? answers[0] ?? emptyAnswer()
  if (answers.length < 2) return { answer, run: null }
  const votes = clusters(answers.map(({ content }) => content))
  const thoughts = answers.map((each, number) => ({
    number,
    about: '',
    text: each.reasoning ? `<think>\n${each.reasoning}\n</think>\n\n${each.content}` : each.content,
    tokens: each.reasoningTokens + each.contentTokens,
    thinking: each.reasoningTokens,
    steps: [],
    answer: votes.find(({ thoughts }) => thoughts.includes(number))?.answer ?? null,
    end: each.finish === 'length' ? 'length' : each.finish === 'stop' ? 'ended' : 'cancelled',
    seconds: each.firstAt !== null && each.lastAt !== null ? (each.lastAt - each.firstAt) / 1000 : null,
  }))
  const run = { ...newRun('vote', answers.length), thoughts, begun: answers.length, votes, answers: votes.map(({ answer }) => answer) }
  return { answer, run: closeRun({ ...run, chosen: answers.indexOf(answer) }) }
}

/** A conversation from the browser's store, whatever page kept it. */
export function modern(conversation: Conversation): Conversation {
  const all = Object.entries(conversation.nodes)
  if (!all.some(([, node]) => isOld(node))) return conversation
  const nodes = all.map(([id, node]): [string, Node] => {
    if (!isOld(node)) return [id, node]
    const { answers, chosen, ...rest } = node as Old
    return [id, { ...rest, ...fromAnswers(answers, chosen) }]
  })
  return { ...conversation, nodes: Object.fromEntries(nodes) }
}
