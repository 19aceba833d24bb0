(function(){
"use strict";
var zh=document.getElementById("zh"),en=document.getElementById("en"),key="hanlin.language";
function stored(v){try{if(v===undefined)return localStorage.getItem(key);localStorage.setItem(key,v)}
catch(e){return null}}
var was=stored();if(was==="zh")zh.checked=true;if(was==="en")en.checked=true;
[zh,en].forEach(function(b){b.addEventListener("change",function(){stored(b.id)})});
function show(v,share){if(v===null)return"NaN";if(share)return(100*v).toPrecision(3)+" %";
var a=Math.abs(v);if(a>=1e4&&a<1e15)return Math.round(v).toLocaleString("en");
return a&&a<1e-3?v.toExponential(2):String(+v.toPrecision(4))}
document.querySelectorAll(".plot").forEach(function(plot){
var data=JSON.parse(plot.querySelector("script").textContent),svg=plot.querySelector("svg"),
rule=plot.querySelector(".rule"),tip=null;
function away(){if(tip){tip.remove();tip=null}rule.style.opacity=0}
function near(xs,x){var a=0,b=xs.length-1;while(a<b){var m=(a+b)>>1;if(xs[m]<x)a=m+1;else b=m}
return a>0&&Math.abs(xs[a-1]-x)<Math.abs(xs[a]-x)?a-1:a}
function move(e){var r=svg.getBoundingClientRect(),s=(e.clientX-r.left)/r.width;
if(s<-.02||s>1.02)return away();s=Math.min(Math.max(s,0),1);
var x=data.log?data.low*Math.pow(data.high/data.low,s):data.low+(data.high-data.low)*s,
l=zh.checked?1:0,at=null;
data.series.forEach(function(o){if(!o.x.length)return;var v=o.x[near(o.x,x)];
if(v!==null&&(at===null||Math.abs(v-x)<Math.abs(at-x)))at=v});
if(at===null)return away();
if(!tip){tip=document.createElement("div");tip.className="tip";plot.appendChild(tip)}
tip.textContent="";var head=document.createElement("div");
head.textContent=data.x[l]+" "+show(at,false);tip.appendChild(head);
data.series.forEach(function(o){if(!o.x.length)return;var row=document.createElement("div"),
n=document.createElement("i"),b=document.createElement("b");n.className="t"+o.tone;
n.textContent=o.name[l];b.textContent=show(o.y[near(o.x,at)],data.percent);
row.append(n,b);tip.appendChild(row)});
var p=data.log?Math.log(at/data.low)/Math.log(data.high/data.low):(at-data.low)/(data.high-data.low);
rule.setAttribute("x1",100*p+"%");rule.setAttribute("x2",100*p+"%");rule.style.opacity=.5;
var left=svg.getBoundingClientRect().left-plot.getBoundingClientRect().left+p*r.width;
tip.style.left=p>.55?"auto":left+12+"px";
tip.style.right=p>.55?plot.clientWidth-left+12+"px":"auto"}
plot.addEventListener("pointermove",move);plot.addEventListener("pointerdown",move);
plot.addEventListener("pointerleave",away)});
addEventListener("beforeprint",function(){document.querySelectorAll("details").forEach(function(d){
d.open=true})});
var live=+document.body.dataset.reload,touched=0;
if(live){["pointermove","keydown","scroll","toggle"].forEach(function(n){
addEventListener(n,function(){touched=Date.now()},true)});
setInterval(function(){if(Date.now()-touched>live*1000)location.reload()},live*1000)}
})();
