import type { PageElement } from './dom.ts'

/** A question in the dialog. */
export interface Question {
  readonly title: string
  readonly text: string
  /** On the button that carries it out. */
  readonly yes: string
  /** Is there something to be typed in, and what. */
  readonly field?: string | undefined
  /** Carries it out, with what was typed in; the dialog stays open, with the message, if it rejects. */
  run(typed: string): Promise<void>
}

/** Makes the one dialog ask; the keyboard stays in it until it is answered, and is then back where it was. */
export function asking(dialog: PageElement): (question: Question) => void {
  const part = (name: string): PageElement => dialog.querySelector(`[data-part="${name}"]`) as PageElement
  const [title, text, error, label, field, yes, no] = (
    ['title', 'text', 'error', 'label', 'field', 'yes', 'no'] as const
  ).map(part) as [PageElement, PageElement, PageElement, PageElement, PageElement, PageElement, PageElement]
  let asked: Question | undefined
  let working = false

  const answer = async (): Promise<void> => {
    const question = asked
    if (question === undefined || working) return
    working = true
    yes.setAttribute('aria-disabled', 'true')
    error.hidden = true
    try {
      await question.run(field.value)
      if (asked === question) dialog.close()
    } catch (failure) {
      error.textContent = failure instanceof Error ? failure.message : String(failure)
      error.hidden = false
    } finally {
      working = false
      yes.setAttribute('aria-disabled', 'false')
    }
  }
  ;(dialog.querySelector('form') as PageElement).addEventListener('submit', (event) => {
    event.preventDefault()
    void answer()
  })
  no.addEventListener('click', () => dialog.close())
  dialog.addEventListener('close', () => {
    asked = undefined
    field.value = ''
  })
  return (question) => {
    asked = question
    title.textContent = question.title
    text.textContent = question.text
    yes.textContent = question.yes
    error.hidden = true
    label.hidden = question.field === undefined
    ;(label.querySelector('span') as PageElement).textContent = question.field ?? ''
    if (!dialog.open) dialog.showModal()
    ;(question.field === undefined ? no : field).focus()
  }
}
