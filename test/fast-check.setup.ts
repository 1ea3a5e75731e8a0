import fc from 'fast-check'

// The report of a failing property has the error that broke it, which CI would not print as its cause.
fc.configureGlobal({ includeErrorInReport: true })
