/** One time series. */
export interface ParsedSample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** One metric with its samples. */
export interface ParsedMetric {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly samples: readonly ParsedSample[]
}

/**
 * Parses Prometheus' text format 0.0.4, and refuses what the format or a scraper would: HELP and TYPE exactly once and before the
 * samples, which stand together; names, labels, escapes and numbers as written there; no series twice; of a histogram, buckets that
 * rise up to `+Inf`, which is its count.
 */
export function parsePrometheus(text: string): readonly ParsedMetric[] {
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  const metrics: { name: string; help: string; type: string; samples: ParsedSample[] }[] = []
  const seen = new Set<string>()
  let help: { readonly name: string; readonly text: string } | undefined
  for (const line of text.slice(0, -1).split('\n')) {
    const helped = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/s.exec(line)
    const typed = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$/.exec(line)
    const current = metrics.at(-1)
    if (helped !== null) {
      help = { name: String(helped[1]), text: unescaped(String(helped[2]), /\\[\\n]/g) }
    } else if (typed !== null) {
      const [, name = '', type = ''] = typed
      if (help?.name !== name) throw new Error(`no HELP before ${line}`)
      if (metrics.some((metric) => metric.name === name)) throw new Error(`twice: ${line}`)
      metrics.push({ name, help: help.text, type, samples: [] })
    } else {
      const sample = parseSample(line)
      const suffix = current?.type === 'histogram' ? '_(bucket|sum|count)' : ''
      if (current === undefined || !new RegExp(`^${current.name}${suffix}$`).test(sample.name))
        throw new Error(`not under its TYPE: ${line}`)
      const series = JSON.stringify([sample.name, Object.entries(sample.labels).sort()])
      if (seen.has(series)) throw new Error(`twice: ${line}`)
      seen.add(series)
      current.samples.push(sample)
    }
  }
  for (const metric of metrics) {
    if (metric.samples.length === 0) throw new Error(`no sample of ${metric.name}`)
    if (metric.type === 'histogram') checkHistogram(metric)
    if (metric.type === 'counter' && metric.samples.some(({ value }) => !(value >= 0)))
      throw new Error(`${metric.name} counts below 0`)
  }
  return metrics
}

function parseSample(line: string): ParsedSample {
  const [, name = '', labels, number = ''] =
    /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\+Inf|-Inf|NaN|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/s.exec(line) ?? []
  if (name === '') throw new Error(`no sample: ${line}`)
  return { name, labels: labels === undefined ? {} : parseLabels(labels), value: numberOf(number) }
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  const pair = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y
  while (pair.lastIndex < text.length) {
    const at = pair.lastIndex
    const [, name, value = ''] = pair.exec(text) ?? []
    if (name === undefined) throw new Error(`no label at ${text.slice(at)}`)
    if (Object.hasOwn(labels, name)) throw new Error(`the label ${name} twice`)
    labels[name] = unescaped(value, /\\[\\"n]/g)
  }
  return labels
}

function unescaped(text: string, escapes: RegExp): string {
  return text.replace(escapes, (pair) => (pair === '\\n' ? '\n' : pair.slice(1)))
}

function numberOf(text: string): number {
  return text === '+Inf' ? Number.POSITIVE_INFINITY : text === '-Inf' ? Number.NEGATIVE_INFINITY : Number(text)
}

function checkHistogram({ name, samples }: ParsedMetric): void {
  const groups = Map.groupBy(samples, ({ labels: { le: _, ...others } }) =>
    JSON.stringify(Object.entries(others).sort()),
  )
  for (const [labels, group] of groups) {
    const of = (suffix: string): readonly ParsedSample[] => group.filter((each) => each.name === `${name}_${suffix}`)
    const buckets = of('bucket').map(({ labels: { le = '' }, value }) => ({ le: numberOf(le), value }))
    const rising = buckets.every(
      (bucket, i) => i === 0 || (bucket.le > buckets[i - 1]!.le && bucket.value >= buckets[i - 1]!.value),
    )
    const [count, sum] = [of('count'), of('sum')]
    const last = buckets.at(-1)
    if (!rising || last?.le !== Number.POSITIVE_INFINITY || count.length !== 1 || sum.length !== 1)
      throw new Error(`${name}${labels}: no histogram`)
    if (last.value !== count[0]?.value) throw new Error(`${name}${labels}: +Inf is not its count`)
  }
}
