/** One server-sent event. */
export interface Update {
  readonly event: string
  readonly data: string
}

/** What is read from: the body of a response. */
export interface UpdateBody {
  getReader(): { read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }> }
}

/** The server-sent events of a body, until it ends; `onSign` is called whenever anything comes, comments included. */
export async function* readUpdates(body: UpdateBody, onSign: () => void): AsyncGenerator<Update, void, undefined> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    onSign()
    text += decoder.decode(value, { stream: true })
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const update = parse(block)
      if (update.data !== '') yield update
    }
  }
}

function parse(block: string): Update {
  let event = 'message'
  const data: string[] = []
  for (const line of block.split('\n')) {
    const [, field, value = ''] = /^(event|data): ?(.*)$/s.exec(line) ?? []
    if (field === 'event') event = value
    if (field === 'data') data.push(value)
  }
  return { event, data: data.join('\n') }
}
