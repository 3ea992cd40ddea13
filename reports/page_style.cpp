// The page's style and its one script, as data. Every pair of colours passes WCAG AA in both schemes.
#include "reports/page_parts.hpp"

namespace plumbline::reports {
namespace {

constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1c2128;--dim:#57606a;--line:#d5dae0;--link:#0b57b0;
--pass:#17692f;--fail:#b3201a;--error:#8a3a00;--open:#6b5000;--none:#57606a;
--pass-b:#e6f4ea;--fail-b:#fdecea;--error-b:#fdf0e3;--open-b:#fbf3d5;--none-b:#eef0f3;--c0:#0b57b0;--c1:#9a3d00;--c2:#17692f;--c3:#7a2a9c;--c4:#8a1c4a;--c5:#3f4650;--heat:#0b57b0}
@media screen and (prefers-color-scheme:dark){:root{--page:#0f1216;--card:#171b21;--text:#e4e8ed;--dim:#a0a9b4;--line:#333a44;--link:#8ab8ff;
--pass:#6fd58a;--fail:#ff938a;--error:#ffb070;--open:#e6c35c;--none:#a0a9b4;
--pass-b:#14301d;--fail-b:#3a1715;--error-b:#35220f;--open-b:#302908;--none-b:#242a32;--c0:#8ab8ff;--c1:#ffb070;--c2:#6fd58a;--c3:#d9a6f5;--c4:#ff9cc4;--c5:#c3cad3;--heat:#8ab8ff}}
*{box-sizing:border-box}
html{scroll-padding-top:1rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif;font-variant-emoji:text;overflow-wrap:anywhere}
main,.top,footer{max-width:80rem;margin:0 auto;padding:0 1rem}
.top{padding-top:.75rem;color:var(--dim);font-size:.875rem}.top p{margin:0}.top strong{color:var(--text)}
h1,h2,h3,h4{line-height:1.25;margin:1.25rem 0 .5rem}h1{font-size:1.5rem;font-weight:650;margin:.1rem 0 .6rem}h2{font-size:1.125rem}h3{font-size:1rem}
article>section.verdict h2{font-size:1.35rem;margin:.1rem 0 .6rem}
p{margin:.4rem 0}ul{margin:.4rem 0;padding-left:1.25rem}a{color:var(--link)}
code{font:.875em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.dim{color:var(--dim);font-size:.875rem;font-weight:400}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.skip{position:absolute;left:-999px;top:0;background:var(--card);padding:.5rem 1rem;z-index:9}.skip:focus{left:0}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:2px}
.card,.verdict{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem 1.25rem;margin:.75rem 0}
.card>h2:first-child,.card>h3:first-child{margin-top:0}
.verdict{border-left:8px solid var(--none)}
.verdict.pass{border-left-color:var(--pass)}.verdict.fail{border-left-color:var(--fail)}.verdict.error{border-left-color:var(--error)}.verdict.open{border-left-color:var(--open)}
.word{margin:0;font-weight:700;font-size:1rem}
.verdict.pass>.word{color:var(--pass)}.verdict.fail>.word{color:var(--fail)}.verdict.error>.word{color:var(--error)}.verdict.open>.word{color:var(--open)}
.notice,.waivers{background:var(--open-b);border:1px solid var(--open);border-radius:6px;padding:.5rem .75rem;margin:.5rem 0}
.waivers h2,.waivers h3{margin:0;font-size:1rem}.waivers .expired{color:var(--fail)}
.identity .part{white-space:normal}.identity .part::before{content:"· ";color:var(--dim)}
.counts{list-style:none;display:flex;flex-wrap:wrap;gap:.35rem;padding:0;margin:.5rem 0 .25rem}
.counts li,.badge,.tag{border-radius:5px;padding:.05rem .5rem;background:var(--none-b);color:var(--none);font-weight:600;font-size:.875rem}
.badge{white-space:nowrap}.tag{font-weight:400;border:1px solid var(--line);padding:0 .35rem;background:none}
li.pass,.badge.pass,.marks a.pass{background:var(--pass-b);color:var(--pass)}li.fail,.badge.fail,.marks a.fail{background:var(--fail-b);color:var(--fail)}
li.error,.badge.error,.marks a.error{background:var(--error-b);color:var(--error)}li.open,.badge.open,.marks a.open{background:var(--open-b);color:var(--open)}
li.none,.badge.none,.marks a.none{background:var(--none-b);color:var(--none)}
.first{display:grid;grid-template-columns:minmax(0,1fr);gap:0 .75rem}
@media (min-width:60rem){.first{grid-template-columns:minmax(0,1.7fr) minmax(0,1fr)}.first>div>.card:first-child{margin-top:0}}
dl{margin:.25rem 0}dd{margin:0}.where dt{font-weight:600;margin-top:.5rem}.where dd p{font-size:.9375rem}
.stage{font-weight:700;font-size:1rem}.share{color:var(--dim);font-size:.875rem}
.judged{font-size:.9375rem}.judged div{display:grid;grid-template-columns:8rem minmax(0,1fr);gap:.5rem;padding:.15rem 0;border-top:1px solid var(--line)}.judged div:first-child{border-top:0}.judged dt{color:var(--dim)}
blockquote{margin:.5rem 0;padding:0 0 0 .75rem;border-left:3px solid var(--line);font-size:.9375rem}
table{border-collapse:collapse;font-size:.875rem}.wide table.causes{min-width:0}.causes td,.causes th{overflow-wrap:anywhere}@media (min-width:45rem){.causes tbody th{white-space:nowrap;padding-right:.75rem}}caption{text-align:left;color:var(--dim);padding:.25rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-top:1px solid var(--line);font-weight:400}thead th{font-weight:600;white-space:nowrap}
td.n{white-space:nowrap;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto;max-width:100%}.wide table{min-width:56rem}.wide td,.wide th{min-width:4.5rem;overflow-wrap:break-word}.numbers .wide table{min-width:20rem}
.chapters{width:100%}.chapters th{width:13rem;font-weight:600}.chapters td.dim{width:11rem}
.marks a{display:inline-block;min-width:2.6rem;min-height:1.6rem;padding:.05rem .3rem;margin:0 .2rem .25rem 0;text-align:center;border-radius:4px;text-decoration:none;white-space:nowrap;font-size:.8125rem;font-variant-numeric:tabular-nums}
.marks a.fail,.marks a.error{font-weight:700;outline:1px solid currentColor}.marks a:hover{text-decoration:underline}
@media (max-width:45rem){.chapters,.chapters tbody,.chapters tr,.chapters th,.chapters td{display:block;width:auto!important;border:0;padding:.1rem 0}.chapters caption{display:block}.chapters tr{border-top:1px solid var(--line);padding:.35rem 0}}
.requirements{list-style:none;padding:0;margin:0}.requirements>li{background:var(--card);border:1px solid var(--line);border-radius:6px;margin:.3rem 0}
summary{cursor:pointer;padding:.35rem .25rem}.requirements summary{display:grid;grid-template-columns:1rem 8.5rem 6.5rem minmax(0,1fr) auto;gap:.5rem;align-items:baseline;padding:.4rem .75rem;list-style:none}
.requirements summary::-webkit-details-marker{display:none}.requirements summary::before{content:"▸";color:var(--dim)}.requirements details[open]>summary::before{content:"▾"}
.id{font-weight:600}.room{color:var(--dim);font-size:.8125rem;text-align:right}.badge{justify-self:start}
@media (max-width:45rem){.requirements summary{grid-template-columns:1rem auto minmax(0,1fr)}.statement,.room{grid-column:2/-1;text-align:left}}
.evidence{padding:.25rem .75rem .75rem 2.25rem;border-top:1px solid var(--line)}
.command{display:inline-block;background:var(--none-b);padding:.15rem .4rem;border-radius:4px}
@media (max-width:45rem){.evidence{padding-left:.75rem}.card,.verdict{padding:.75rem}.judged div{grid-template-columns:6.5rem minmax(0,1fr)}h1{font-size:1.25rem}.notice,.waivers{margin:.35rem 0}}
.filter{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;margin:.5rem 0}.filter[hidden]{display:none}.filter fieldset{border:0;padding:0;margin:0;display:flex;flex-wrap:wrap;gap:.25rem .75rem}.filter legend{float:left;margin-right:.75rem;padding:0}
.filter label{display:inline-flex;align-items:center;gap:.3rem;min-height:1.75rem}.filter input[type=search]{font:inherit;padding:.2rem .5rem;border:1px solid var(--dim);border-radius:4px;background:var(--card);color:var(--text)}
figure{margin:1rem 0 1.5rem}figcaption{margin-bottom:.25rem}
.chart{display:block;min-width:40rem;max-width:60rem;width:100%;height:auto;font-size:12px}
.natural{width:auto;min-width:0;max-width:none}.chart text{fill:var(--text)}.chart .dim{fill:var(--dim);font-size:12px}.chart .end{text-anchor:end}.chart .middle{text-anchor:middle}.chart .strong{font-weight:600}.chart .bad{fill:var(--fail);font-weight:600}
.grid{stroke:var(--line);fill:none}.axis{stroke:var(--dim);fill:none}.bound{stroke:var(--text);stroke-width:1.5;stroke-dasharray:6 4;fill:none}.pointer{stroke:var(--fail);stroke-width:1.5;fill:none}
.bar{stroke:var(--c0);stroke-width:6;opacity:.22;fill:none}.band{stroke:var(--dim);fill:none}
.curve{fill:none;stroke-width:1.5;stroke:var(--c0)}.point{fill:var(--c0);stroke:var(--c0);stroke-width:1}
.p1,.p4,.p5{fill:none;stroke-width:1.5}.p1{stroke:var(--c1)}.p2{fill:var(--c2);stroke:var(--c2)}.p3{fill:var(--c3);stroke:var(--c3)}.p4{stroke:var(--c4)}.p5{stroke:var(--c5)}
.chart .point.bad{fill:none;stroke:var(--fail);stroke-width:2.5}
.c1{stroke:var(--c1);stroke-dasharray:7 3}.c2{stroke:var(--c2);stroke-dasharray:2 3}.c3{stroke:var(--c3);stroke-dasharray:9 3 2 3}.c4{stroke:var(--c4);stroke-dasharray:4 4}.c5{stroke:var(--c5);stroke-dasharray:1 2}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding:0;font-size:.875rem}.key{width:28px;height:12px;vertical-align:middle}
rect{fill:var(--heat)}.h0{fill:var(--none-b);stroke:var(--line)}.h1{opacity:.1}.h2{opacity:.2}.h3{opacity:.31}.h4{opacity:.42}.h5{opacity:.54}.h6{opacity:.66}.h7{opacity:.78}.h8{opacity:.9}.unknown{fill:none;stroke:var(--line);stroke-dasharray:2 2}
.situations{list-style:none;display:flex;flex-wrap:wrap;gap:.35rem;padding:0}.situations li{border-radius:5px;padding:.15rem .5rem;font-size:.875rem}
.across td,.across th{white-space:nowrap}.across th[scope=row]{white-space:normal;min-width:16rem}@media (max-width:45rem){.across th[scope=row]{min-width:9rem}}.across caption{white-space:normal}.wide table.across{min-width:0}
article{border-top:2px solid var(--line);margin-top:2rem;padding-top:.5rem}footer{color:var(--dim);font-size:.875rem;padding-top:1rem;padding-bottom:2rem}
@media print{:root{--page:#fff;--card:#fff}body{font-size:10pt}.skip,.filter,.top-link{display:none}.card,.verdict{border-radius:0}.verdict,.judged div,tr{break-inside:avoid}figure,.requirements>li{break-inside:avoid}.requirements details[open]{break-inside:auto}.wide{overflow:visible}.wide table{min-width:0;width:100%;font-size:8pt}.chart{min-width:0}h2,h3{break-after:avoid}.first{display:block}a{color:inherit;text-decoration:none}}
)css";

constexpr const char* kScript = R"js(
'use strict';
(function(){
  function reveal(){
    var to=document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if(to&&to.tagName==='DETAILS')to.open=true;
  }
  addEventListener('hashchange',reveal);reveal();
  document.querySelectorAll('form.filter').forEach(function(form){
    var rows=document.querySelectorAll('[data-verdict]'),said=form.querySelector('output');
    function sift(){
      var text=form.elements.text.value.toLowerCase(),wanted={},shown=0;
      form.querySelectorAll('[type=checkbox]').forEach(function(box){wanted[box.value]=box.checked});
      rows.forEach(function(row){
        var keep=row.dataset.verdict.split(' ').some(function(one){return wanted[one]})&&row.textContent.toLowerCase().indexOf(text)>=0;
        row.hidden=!keep;if(keep)shown++;
      });
      said.textContent=shown+' / '+rows.length;
    }
    form.addEventListener('input',sift);
    form.addEventListener('submit',function(event){event.preventDefault()});
    form.hidden=false;sift();
  });
})();
)js";

}  // namespace

const char* page_style() {
  return kStyle;
}

const char* page_script() {
  return kScript;
}

}  // namespace plumbline::reports
