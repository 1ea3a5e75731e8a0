/** The style sheet of the report: light or dark as the reader's system is, and fit to be printed. */
export const reportStyle = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --line: #e1e4e9; --text: #1b1f26; --soft: #5b6472; --code: #f2f4f7;
  --passed: #177245; --passed-back: #e3f4ea; --failed: #b3261e; --failed-back: #fdeae8; --untested: #865700; --untested-back: #fcf1dc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111418; --card: #1a1e24; --line: #2d333c; --text: #e5e8ec; --soft: #98a2b0; --code: #12161b;
    --passed: #6fd39b; --passed-back: #15301f; --failed: #ff9a91; --failed-back: #3c1a18; --untested: #eec06a; --untested-back: #352812;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; }
h3 { font-size: 16px; margin: 0 0 12px; overflow-wrap: anywhere; }
p { margin: 0 0 8px; }
code, pre { font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; margin: 4px 0 0; }
pre { overflow-x: auto; }
.command { white-space: pre-wrap; overflow-wrap: anywhere; }
.command b { user-select: all; }
.soft { color: var(--soft); }
.verdict { border-left: 4px solid; padding: 10px 16px; border-radius: 0 6px 6px 0; margin: 20px 0; font-weight: 600; }
.passed { color: var(--passed); } .failed { color: var(--failed); } .untested { color: var(--untested); }
.verdict.passed, .badge.passed { background: var(--passed-back); }
.verdict.failed, .badge.failed { background: var(--failed-back); }
.verdict.untested, .badge.untested { background: var(--untested-back); }
.badge { display: inline-block; padding: 1px 9px; border-radius: 10px; font-size: 13px; font-weight: 600; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 12px; margin: 0 0 16px; }
.numbers div, .card, .table, .facts { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.numbers div { padding: 12px 16px; }
.numbers b { display: block; font-size: 24px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.numbers span { color: var(--soft); font-size: 13px; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; padding: 14px 16px; font-size: 14px; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
.card { padding: 18px 20px; margin: 0 0 16px; border-left: 4px solid var(--failed); }
.card h4 { font-size: 13px; color: var(--soft); margin: 16px 0 0; font-weight: 600; }
.card ol { margin: 4px 0 0; padding-left: 28px; } .card li { padding: 1px 0; overflow-wrap: anywhere; }
.card li::marker { color: var(--soft); font-variant-numeric: tabular-nums; } .card li:last-child { font-weight: 600; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 9px 14px; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
th { font-size: 13px; color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td a { color: inherit; }
td small { display: block; font-size: 13px; color: var(--soft); }
.note li { padding: 2px 0; }
@media (max-width: 640px) {
  main { padding: 24px 12px 40px; } thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 2px 14px; padding: 10px 12px; border-bottom: 1px solid var(--line); }
  tr:last-child { border: 0; } td { border: 0; padding: 0; } td:last-child { flex-basis: 100%; } td:nth-child(4)::after { content: " schedules"; }
}
@media print { body { background: none; } main { padding: 0; max-width: none; } .card, tr { break-inside: avoid; } }
`
