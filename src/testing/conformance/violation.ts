import { ReflexError } from '../../core/errors.ts'

/** A property that does not hold. The message says what was expected and what was found. */
export class Violation extends ReflexError {
  override readonly name = 'Violation'
  /** The id of the property, as `S12`. */
  readonly property: string

  constructor(property: string, message: string, cause?: unknown) {
    super('CONFORMANCE', message, { cause, retriable: false })
    this.property = property
  }
}
