/** What the dashboard needs of a browser's elements. */
export interface PageElement {
  textContent: string | null
  hidden: boolean
  value: string
  readonly dataset: Record<string, string | undefined>
  readonly classList: { toggle(name: string, on: boolean): void }
  /** Of a template. */
  readonly content: { readonly firstElementChild: PageElement | null }
  querySelector(selector: string): PageElement | null
  querySelectorAll(selector: string): Iterable<PageElement>
  cloneNode(deep: boolean): PageElement
  append(...children: PageElement[]): void
  remove(): void
  getAttribute(name: string): string | null
  setAttribute(name: string, value: string): void
  addEventListener(type: string, listener: (event: { preventDefault(): void }) => void): void
  focus(): void
  /** Of a dialog. */
  readonly open: boolean
  showModal(): void
  close(): void
}

/** What the dashboard needs of a browser's document. */
export interface PageDocument {
  title: string
  readonly hidden: boolean
  querySelector(selector: string): PageElement | null
}
