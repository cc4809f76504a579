"""How a report's page looks: on a screen of any width, light or dark, and on paper."""

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --card: #f5f6f8; --ink: #16181d; --quiet: #565b66;
  --line: #d5d8de; --accent: #0b5cad; --warn: #8a3c00; --mark: #ffe2b8; --mark-ink: #3d1f00 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181d; --card: #1f2229; --ink: #e8eaee; --quiet: #a9afba; --line: #3a3f49; --accent: #8ec2ff;
    --warn: #ffb27a; --mark: #5a3a10; --mark-ink: #ffe9cc }
}
* { box-sizing: border-box }
html { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 68rem; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 1rem 0 .25rem }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .75rem }
header p { color: var(--quiet); margin: 0 0 1rem; overflow-wrap: anywhere }
a { color: var(--accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.skip { position: absolute; left: -100rem }
.skip:focus { position: static }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; margin: 0 0 1.5rem; padding: .6rem 0;
  border-block: 1px solid var(--line) }
section { margin: 0 0 2.25rem; scroll-margin-top: 1rem }
#verdict { background: var(--card); border: 1px solid var(--line); border-left: .4rem solid var(--accent);
  border-radius: .5rem; padding: 1.1rem 1.25rem }
p { margin: 0 0 .75rem; overflow-wrap: anywhere }
.lead { font-size: 1.3rem; font-weight: 600; line-height: 1.35 }
.quiet { color: var(--quiet) }
.warning { color: var(--warn) }
dl { margin: 0 0 .75rem }
dl div { display: grid; grid-template-columns: 8rem 1fr; gap: .25rem 1rem; padding: .2rem 0 }
dt { color: var(--quiet) }
dd { margin: 0; overflow-wrap: anywhere }
.bullets { margin: 0 0 .75rem; padding-left: 1.25rem; overflow-wrap: anywhere }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; margin: 0 0 .75rem;
  padding: .7rem .9rem; font: .8125rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; tab-size: 8 }
.scrolled { overflow-x: auto }
div.scrolled { margin: 0 0 .75rem }
mark { background: var(--mark); color: var(--mark-ink); display: inline-block; min-width: 100%; font-weight: 600 }
table { border-collapse: collapse; font-size: .875rem; width: 100% }
caption { position: absolute; left: -100rem }
th, td { border-bottom: 1px solid var(--line); padding: .3rem 1.25rem .3rem 0; text-align: left; vertical-align: top }
th { color: var(--quiet); font-weight: 600 }
.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; width: 1% }
details { margin: 0 0 .75rem }
summary { color: var(--accent); cursor: pointer; padding: .2rem 0; overflow-wrap: anywhere }
details > :not(summary) { margin-left: 1rem }
.picture { border: 1px solid var(--line); border-radius: .4rem; margin: 0 0 .5rem }
.picture svg { display: block; height: auto; min-width: 46rem; width: 100% }
footer { border-top: 1px solid var(--line); color: var(--quiet); font-size: .875rem; padding-top: 1rem }
@media (max-width: 36rem) {
  dl div { grid-template-columns: 1fr; gap: 0; padding: .35rem 0 }
  details > :not(summary) { margin-left: 0 }
}
@media print {
  :root { color-scheme: light; --ground: #ffffff; --card: #ffffff; --ink: #16181d; --quiet: #565b66; --line: #b9bec7;
    --accent: #16181d; --warn: #8a3c00; --mark: #e4e6ea; --mark-ink: #16181d }
  html { font-size: 11px }
  body { max-width: none; padding: 0 }
  nav, .skip { display: none }
  pre, .scrolled { overflow: visible; white-space: pre-wrap; overflow-wrap: anywhere }
  h2, summary, .lead { break-after: avoid }
  .picture, tr { break-inside: avoid }
  .picture svg { min-width: 0 }
  details::details-content { content-visibility: visible }
}
"""
