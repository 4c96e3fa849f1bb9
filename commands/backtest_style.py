"""Style of a backtest's page: one sheet, light and dark, no font or picture from elsewhere."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f6f3; --card: #ffffff; --ink: #1b212b; --muted: #646d7a; --line: #e4e5e1;
  --equity: #2557c7; --held: #a9a58f; --gain: #1c7f56; --loss: #bf4038; --gross: #7a6bb5;
  --band: #c8d2e4; --price: #5d6b82; --warn-ink: #6d4a00; --warn: #fdf3d8; --warn-line: #ecd79b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101319; --card: #181c24; --ink: #e6e8ec; --muted: #98a1af; --line: #2a303b;
    --equity: #7ea6ff; --held: #7b7662; --gain: #4fc08d; --loss: #ee7d73; --gross: #a99be0;
    --band: #2f3a4f; --price: #93a3bd; --warn-ink: #f1d897; --warn: #2b2412; --warn-line: #54461f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 16px; margin: 0 0 2px; }
p { margin: 0 0 10px; }
.sub, .note, figcaption { color: var(--muted); font-size: 13.5px; }
.warn {
  background: var(--warn); color: var(--warn-ink); border: 1px solid var(--warn-line);
  border-radius: 8px; padding: 10px 14px; margin: 16px 0 18px; font-weight: 550;
}
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px; }
.tile, section {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
}
.tile { padding: 12px 14px; }
.tile b { display: block; font-size: 21px; line-height: 1.3; font-weight: 620; }
.tile span { color: var(--muted); font-size: 13px; }
section { margin-top: 14px; padding: 16px 18px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
.pair section { min-width: 0; }
figure { margin: 8px 0 0; }
svg { width: 100%; height: auto; display: block; }
svg.narrow { display: none; }
svg.half { max-width: 480px; }
[title] { cursor: help; }
abbr[title] { text-decoration: underline dotted var(--muted); text-underline-offset: 3px; }
.gain { color: var(--gain); } .loss { color: var(--loss); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 500; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.left, th.left, td.words, th.words { text-align: left; }
td.words, th.words { white-space: normal; padding-right: 0; }
tr:last-child td { border-bottom: 0; }
.figures { display: grid; grid-template-columns: 1fr 1fr; column-gap: 44px; font-size: 14px; }
.figures div { display: flex; justify-content: space-between; gap: 12px; padding: 5px 0;
  border-bottom: 1px solid var(--line); }
dl { margin: 8px 0 0; display: grid; grid-template-columns: 170px 1fr; gap: 6px 16px;
  font-size: 14px; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; }
.months { display: grid; grid-template-columns: repeat(auto-fill, minmax(74px, 1fr)); gap: 5px;
  margin-top: 10px; }
.month { border-radius: 6px; padding: 6px 9px; font-size: 13px; border: 1px solid var(--line); }
.month i { display: block; font-style: normal; color: var(--muted); font-size: 12px; }
.bars { margin-top: 8px; font-size: 13.5px; }
.bar { display: grid; grid-template-columns: minmax(120px, 210px) 1fr 56px; gap: 10px;
  align-items: center; padding: 3px 0; }
.bar u { display: block; height: 12px; border-radius: 3px; background: var(--price); opacity: .75; }
.bar em { font-style: normal; text-align: right; }
.bar span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: 12.5px; }
.key { display: inline-block; width: 18px; height: 0; border-top: 3px solid; margin: 0 5px 3px 0;
  vertical-align: middle; }
.key.dot { width: 9px; height: 9px; border: 0; border-radius: 50%; margin-bottom: 1px; }
.legend span { margin-right: 16px; white-space: nowrap; }
.tick { font-size: 12px; fill: var(--muted); }
.grid { stroke: var(--line); stroke-width: 1; }
.mark { stroke: var(--line); stroke-width: 1; stroke-dasharray: 2 4; }
.base { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 4 4; }
polyline { fill: none; stroke-linejoin: round; }
.equity { stroke: var(--equity); stroke-width: 1.9; }
.held { stroke: var(--held); stroke-width: 1.4; }
.loss-area { fill: var(--loss); opacity: .18; }
.loss-line { stroke: var(--loss); stroke-width: 1.2; }
.gross-area { fill: var(--gross); opacity: .2; }
.gross-line { stroke: var(--gross); stroke-width: 1.3; }
.band { fill: var(--band); opacity: .75; } .price { stroke: var(--price); stroke-width: 1; }
line.won { stroke: var(--gain); } line.lost { stroke: var(--loss); }
line.won, line.lost { stroke-width: 1.8; }
path.won, circle.won, .gain-bar { fill: var(--gain); }
path.lost, circle.lost, .loss-bar { fill: var(--loss); }
path.won, path.lost, circle.won, circle.lost { stroke: var(--card); stroke-width: .8; }
@media (max-width: 720px) {
  main { padding: 18px 12px 40px; }
  h1 { font-size: 21px; }
  section { padding: 14px 12px; }
  .pair, dl, .figures { grid-template-columns: 1fr; }
  dl { gap: 0; } dd { margin-bottom: 9px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile b { font-size: 18px; }
  .bar { grid-template-columns: 128px 1fr 44px; gap: 8px; }
  svg.wide { display: none; } svg.narrow { display: block; }
  table { font-size: 13px; } th, td { padding: 5px 7px; }
}
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
""".strip()
