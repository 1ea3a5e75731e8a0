/** Real servers, and a proxy that injects network faults, for tests. No test runner is imported. */
export * from './servers/index.ts'
