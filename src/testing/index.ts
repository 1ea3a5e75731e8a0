/** Real servers, faults and the test harness: what tests of streams, sinks and bridges are made of. No test runner is imported. */
export * from './servers/index.ts'
