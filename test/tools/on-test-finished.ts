import { AsyncLocalStorage } from 'node:async_hooks'
import { aroundEach, type TestContext, onTestFinished as vitestOnTestFinished } from 'vitest'

type OnTestFinished = TestContext['onTestFinished']

const ofTest = new AsyncLocalStorage<OnTestFinished>()
aroundEach((run, { onTestFinished }) => ofTest.run(onTestFinished, run))

/** As vitest's own, which only knows the test that began last: what a test makes ends with that test also while others run. */
export const onTestFinished: OnTestFinished = (then, timeoutMs) =>
  (ofTest.getStore() ?? vitestOnTestFinished)(then, timeoutMs)
