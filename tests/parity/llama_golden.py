# Prints the numbers of unit.golden (llama_blocks): a small LlamaForCausalLM in double precision, with weights that follow
# from their index. By hand: needs torch and transformers.
import torch, numpy as np, math
from transformers import LlamaConfig, LlamaForCausalLM
V,H,L,A,KV,F,S=96,64,2,4,2,96,8
m=LlamaForCausalLM(LlamaConfig(vocab_size=V,hidden_size=H,num_hidden_layers=L,num_attention_heads=A,num_key_value_heads=KV,intermediate_size=F,max_position_embeddings=S,rms_norm_eps=1e-5,rope_theta=5000.,tie_word_embeddings=False,attn_implementation='eager')).double().eval()
d=H//A; g=A//KV
def sine(k,n,norm=False):
    u=np.sin(np.arange(n)*(1+0.1*k)+1.3*k)
    return 1+0.1*u if norm else 0.2*u
sd=m.state_dict(); grads=[]
def put(name,a): sd[name].copy_(torch.tensor(a))
order=[]
k=0
def mat(names,shape,norm=False):
    global k
    a=sine(k,int(np.prod(shape)),norm).reshape(shape); k+=1
    order.append((names,shape))
    if len(names)==1: put(names[0],a); return
    a=a.reshape(KV,g+2,d,H)
    put(names[0],a[:,:g].reshape(-1,H)); put(names[1],a[:,g].reshape(-1,H)); put(names[2],a[:,g+1].reshape(-1,H))
with torch.no_grad():
    mat(['model.embed_tokens.weight'],(V,H))
    for l in range(L):
        p=f'model.layers.{l}.'
        mat([p+'input_layernorm.weight'],(H,),True)
        mat([p+'post_attention_layernorm.weight'],(H,),True)
        mat([p+f'self_attn.{x}_proj.weight' for x in 'qkv'],(KV*(g+2)*d,H))
        mat([p+'self_attn.o_proj.weight'],(H,A*d))
        mat([p+'mlp.gate_proj.weight'],(F,H)); mat([p+'mlp.up_proj.weight'],(F,H)); mat([p+'mlp.down_proj.weight'],(H,F))
    mat(['model.norm.weight'],(H,),True); mat(['lm_head.weight'],(V,H))
t=torch.tensor([[(7*j*j+13*i+3*i*i+5)%90 for i in range(S+1)] for j in range(2)])
# rotary table and norms in double: Transformers keeps float32 inside, close enough at 1e-6
lg=m(t[:,:-1]).logits
loss=torch.nn.functional.cross_entropy(lg.reshape(-1,V),t[:,1:].reshape(-1)); loss.backward()
P=dict(m.named_parameters())
print('loss %.12f'%loss.item())
print('first', ['%.9f'%x for x in lg[0,0,:4]], 'last', ['%.9f'%x for x in lg[1,7,92:]])
print('grads', ', '.join('%.9g'%math.sqrt(sum(float(P[n].grad.pow(2).sum()) for n in ns)) for ns,_ in order))
