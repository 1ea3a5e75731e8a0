/** The dashboard's page; `script` is the path of its module. Without data: that comes from the server, as text. */
export function pageHtml(script: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>reflex-bridge</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="dashboard/style.css">
<script type="module" src="${script}"></script>
</head>
<body>
<header>
<h1>reflex-bridge</h1>
<p id="summary"></p>
<p id="connection" role="status" data-lost="false">Connecting</p>
</header>
<main>
<noscript><p>This page needs JavaScript; <a href="routes">/routes</a> has the same as JSON.</p></noscript>
<ul id="routes"></ul>
</main>
<p id="news" class="unseen" role="status" aria-live="polite"></p>
<dialog id="ask" aria-labelledby="ask-title" aria-describedby="ask-text">
<form>
<h2 id="ask-title" data-part="title"></h2>
<p id="ask-text" data-part="text"></p>
<label data-part="label" hidden><span></span> <input data-part="field" type="password" autocomplete="off" spellcheck="false"></label>
<p class="failure" data-part="error" role="alert" hidden></p>
<div class="buttons"><button type="button" data-part="no">Cancel</button> <button type="submit" class="main" data-part="yes"></button></div>
</form>
</dialog>
<template id="card">
<li class="card">
<div class="head"><h2 data-part="name"></h2><span class="state" data-part="state"></span></div>
<p class="way"><span data-part="source"></span> <span class="arrow" aria-label="to">→</span> <span data-part="sink"></span></p>
<dl class="numbers">
<div><dd data-part="backlog"></dd><dt>backlog</dt></div>
<div><dd data-part="lag"></dd><dt>behind</dt></div>
<div><dd data-part="rate"></dd><dt>now</dt></div>
<div><dd data-part="forwarded"></dd><dt>forwarded</dt></div>
</dl>
<figure>
<svg data-part="curve" role="img" viewBox="0 -2 300 52" preserveAspectRatio="none"><path data-part="line" d=""></path></svg>
<figcaption data-part="peak"></figcaption>
</figure>
<div class="note bad" data-part="attention"><h3>Not ready</h3><p data-part="attention-text"></p></div>
<div class="note warn" data-part="blocked"><h3>Blocked</h3><p data-part="blocked-text"></p></div>
<div class="note bad" data-part="error"><h3><span data-part="error-title"></span> <code data-part="error-code"></code></h3><p class="whole" data-part="error-text"></p></div>
<div class="note warn" data-part="repair"><h3 data-part="repair-title"></h3><p class="whole" data-part="repair-text"></p></div>
<details>
<summary>More</summary>
<dl class="facts">
<dt>Position</dt><dd data-part="position"></dd>
<dt>Saved</dt><dd data-part="saved"></dd>
<dt>Last event</dt><dd data-part="last-event"></dd>
<dt>Forwarded</dt><dd data-part="exact"></dd>
<dt>Failures</dt><dd data-part="failures"></dd>
<dt>Left out</dt><dd data-part="left-out"></dd>
<dt>Run by</dt><dd data-part="owner"></dd>
</dl>
</details>
<div class="buttons"><button type="button" data-part="pause">Pause</button> <button type="button" data-part="resume">Resume</button> <button type="button" data-part="stop">Stop</button></div>
</li>
</template>
</body>
</html>
`
}
