/** The style sheet of the dashboard: light or dark as the reader's system is. */
export const pageStyle = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --line: #e1e4e9; --edge: #858e9b; --text: #1b1f26; --soft: #5b6472; --accent: #1f5fbf; --on-accent: #fff;
  --good: #177245; --good-back: #e3f4ea; --bad: #b3261e; --bad-back: #fdeae8; --warn: #865700; --warn-back: #fcf1dc; --calm: #4a5361; --calm-back: #eceef2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111418; --card: #1a1e24; --line: #2d333c; --edge: #79838f; --text: #e5e8ec; --soft: #98a2b0; --accent: #86b7ff; --on-accent: #0b1a30;
    --good: #6fd39b; --good-back: #15301f; --bad: #ff9a91; --bad-back: #3c1a18; --warn: #eec06a; --warn-back: #352812; --calm: #b9c1cc; --calm-back: #2a3039;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 20px; padding-top: 24px; padding-bottom: 16px; }
h1 { font-size: 20px; letter-spacing: -0.01em; margin: 0; }
header p { margin: 0; color: var(--soft); }
#connection { margin-left: auto; overflow-wrap: anywhere; }
#connection::before { content: "●"; color: var(--good); margin-right: 6px; }
#connection[data-lost="true"] { margin-left: 0; flex-basis: 100%; color: var(--bad); background: var(--bad-back); border-radius: 6px; padding: 8px 12px; font-weight: 600; }
#connection[data-lost="true"]::before { content: "▲"; color: inherit; }
main.stale .card { opacity: 0.6; }
#routes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr)); gap: 16px; margin: 0 0 48px; padding: 0; list-style: none; align-items: start; }
.card { background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--tint, var(--calm)); border-radius: 8px; padding: 14px 18px 16px; min-width: 0; }
.card[data-state="running"] { --tint: var(--good); --tint-back: var(--good-back); }
.card[data-state="waiting"], .card[data-state="starting"] { --tint: var(--warn); --tint-back: var(--warn-back); }
.card[data-ready="false"] { --tint: var(--bad); --tint-back: var(--bad-back); }
.head { display: flex; align-items: center; gap: 8px 12px; }
.head h2 { font-size: 17px; margin: 0; overflow-wrap: anywhere; min-width: 0; flex: 1; }
.state { color: var(--tint, var(--calm)); background: var(--tint-back, var(--calm-back)); border-radius: 10px; padding: 1px 10px; font-size: 13px; font-weight: 600; }
.way { margin: 2px 0 12px; color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.arrow { color: var(--text); }
.numbers { display: grid; grid-template-columns: 1.3fr 1fr 1fr 1.3fr; gap: 8px 12px; margin: 0; }
.numbers div { display: flex; flex-direction: column; }
.numbers dd { margin: 0; font-size: 18px; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; white-space: nowrap; }
.numbers dt { color: var(--soft); font-size: 13px; }
figure { margin: 12px 0 0; }
svg { display: block; width: 100%; height: 52px; border-bottom: 1px solid var(--line); }
svg path { fill: none; stroke: var(--accent); stroke-width: 1.5; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
figcaption { color: var(--soft); font-size: 12px; text-align: right; font-variant-numeric: tabular-nums; }
.note { border-left: 4px solid; border-radius: 0 6px 6px 0; padding: 8px 12px; margin: 10px 0 0; font-size: 14px; }
.note.bad { border-color: var(--bad); background: var(--bad-back); } .note.warn { border-color: var(--warn); background: var(--warn-back); }
.note h3 { font-size: 13px; margin: 0; } .note.bad h3 { color: var(--bad); } .note.warn h3 { color: var(--warn); }
.note h3 code { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.note p { margin: 0; overflow-wrap: anywhere; }
.whole { white-space: pre-wrap; }
details { margin: 12px 0 0; font-size: 14px; }
summary { cursor: pointer; color: var(--soft); width: fit-content; border-radius: 4px; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 6px 0 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.buttons { display: flex; flex-wrap: wrap; gap: 8px; margin: 14px 0 0; }
button { font: inherit; font-size: 14px; min-height: 36px; padding: 4px 14px; color: var(--text); background: var(--card); border: 1px solid var(--edge); border-radius: 6px; cursor: pointer; }
button:hover { border-color: var(--accent); }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); font-weight: 600; }
button[aria-disabled="true"] { color: var(--soft); border-color: var(--line); cursor: default; opacity: 0.6; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
dialog { width: min(440px, calc(100vw - 32px)); color: var(--text); background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 20px; }
dialog::backdrop { background: rgb(0 0 0 / 0.5); }
dialog h2 { font-size: 17px; margin: 0 0 6px; overflow-wrap: anywhere; }
dialog p { margin: 0; } dialog .buttons { justify-content: flex-end; }
dialog label { display: block; margin: 12px 0 0; font-size: 13px; color: var(--soft); }
input { display: block; width: 100%; font: inherit; padding: 7px 10px; color: var(--text); background: var(--page); border: 1px solid var(--edge); border-radius: 6px; }
.failure { color: var(--bad); background: var(--bad-back); border-radius: 6px; padding: 8px 12px; margin: 12px 0 0 !important; overflow-wrap: anywhere; }
.unseen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-reduced-motion: no-preference) { button { transition: border-color 0.15s; } .card { transition: opacity 0.15s; } }
@media (max-width: 520px) {
  header, main { padding-left: 12px; padding-right: 12px; }
  .card { padding: 12px 14px 14px; }
  .numbers { grid-template-columns: 1fr 1fr; }
  .card .buttons button { flex: 1; min-height: 44px; }
}
`
